-- Render, ending: what a job is to print, and what its end brings about. See 100_render for the states.

drop function if exists makeready.render_input(uuid);
create or replace function makeready.render_input(job uuid)
  returns table (pack_id uuid, doc_id text, layout text, type_version text, language_code text, content jsonb,
                 bucket_name text, object_name text, may_reuse boolean, is_trial boolean)
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select r.pack_id, r.doc_id, r.layout, r.type_version, p.lang, coalesce(o.content, c.content), f.bucket, f.object_key, not r.is_forced,
         coalesce(o.type_version <> '', false)
    from makeready.pack_documents r
    join makeready.packs p on p.id = r.pack_id
    left join makeready.render_contents o on o.id = r.content_id
    left join makeready.pack_contents c on c.pack_id = r.pack_id and c.doc_id = r.doc_id and r.content_id is null
    left join makeready.files f on f.id = o.sources_id
   where r.job_id = render_input.job and (o.id is not null or c.doc_id is not null)
$$;
comment on function makeready.render_input(uuid) is
  'What a job is to print: read by its worker, and by whoever repeats it elsewhere. bucket_name and object_name: the archive with its sources, if it has any. is_trial: it asks for one version by itself, in whose place nothing else may be printed.';

drop function if exists makeready.render_finish(uuid, uuid, text, text, text, bigint, bytea, text, jsonb);
create or replace function makeready.render_finish(job uuid, token uuid, stored jsonb, facts jsonb default '{}', picture jsonb default null)
  returns text
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_now      timestamptz;
  v_verdict  text;
  v_row      makeready.pack_documents;
  v_file     uuid := makeready.uuid7();
  v_stored   uuid;
  v_thumb    uuid;
  v_artifact uuid := makeready.uuid7();
  v_pack     makeready.packs;
begin
  v_verdict := makeready.finish('render', job, token, facts || jsonb_build_object('file_id', v_file, 'bucket', stored -> 'bucket',
                                                                                  'key', stored -> 'key', 'size_bytes', stored -> 'size_bytes'));
  if v_verdict <> 'ok' then
    return v_verdict;          -- this lease published it before; the answer was lost
  end if;
  v_now := makeready.now();
  select * into v_row from makeready.pack_documents d where d.job_id = job and d.state = 'queued';      -- only who holds the job changes it
  -- The pack before its session and files: whoever forgets it holds it and wants those.
  perform 1 from makeready.packs p where p.id = v_row.pack_id for no key update;
  if not found then
    raise exception 'job % renders no document of a pack', job
      using errcode = 'MR404', detail = json_build_object('code', 'job_not_found', 'job_id', job),
            hint = 'Enqueue renders by makeready.render_enqueue, render_pack or render_document.';
  end if;
  if facts -> 'reused' = 'true' then
    v_stored := makeready.file_keep_found(stored, v_file);
    v_thumb := case when picture is not null then makeready.file_keep_found(picture, v_file) end;
  else
    v_stored := makeready.file_keep(stored, v_file);
    v_thumb := case when picture is not null then makeready.file_keep(picture, v_file) end;
  end if;
  insert into makeready.artifacts (id, session_id, kind, format, meta, created_at)
  select v_artifact, p.session_id, v_row.doc_id || '_pdf', 'pdf',
         facts || jsonb_build_object('render_job_id', job, 'pack_id', p.id, 'doc_id', v_row.doc_id, 'language', p.lang, 'layout', v_row.layout,
                                     'type_version', coalesce(facts ->> 'type_version', v_row.type_version)), v_now
    from makeready.packs p where p.id = v_row.pack_id;
  insert into makeready.artifact_files (id, artifact_id, stored_id, thumbnail_id, filename, created_at)
  values (v_file, v_artifact, v_stored, v_thumb,
          coalesce((select o.title from makeready.render_contents o where o.id = v_row.content_id), v_row.doc_id) || '.pdf', v_now);
  update makeready.packs p set open_count = p.open_count - 1 where p.id = v_row.pack_id returning * into v_pack;
  update makeready.pack_documents d
     set state = 'ready', file_id = v_file, finished_at = v_now,
         attempts_used = (select j.attempt from makeready.jobs j where j.queue = 'render' and j.id = job)
   where d.seq = v_row.seq;
  perform makeready.deliver_render(job);
  insert into makeready.render_surplus (pack_id)
  select v_row.pack_id where exists (select from makeready.pack_documents o where o.pack_id = v_row.pack_id and o.doc_id = v_row.doc_id
                                                                              and o.seq < v_row.seq and o.state = 'ready')
  on conflict do nothing;
  if v_pack.is_bundled and v_pack.open_count = 0 then
    perform makeready.render_bundle_add(v_pack);
  end if;
  return v_verdict;
end
$$;
comment on function makeready.render_finish(uuid, uuid, jsonb, jsonb, jsonb) is
  'Ends a render: the job, its artifact and file, the document''s state and the pack''s count in one transaction; whoever ends the last one of a bundled pack asks for its bundle. stored and picture, a thumbnail, as in file_keep. ok, or repeat when this lease has done so before. With reused in facts they were found stored: MR409 when they are being deleted. MR001: the lease is lost, nothing is published.';

create or replace function makeready.render_problem(turned makeready.jobs)
  returns jsonb language sql immutable security definer set search_path = ''
as $$ select coalesce(nullif(turned.error, '{}'), jsonb_build_object('code', turned.state, 'message', 'the job was ' || turned.state)) $$;
comment on function makeready.render_problem(makeready.jobs) is 'Why a job ended without success.';

create or replace function makeready.render_supersede(job uuid)
  returns void
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  -- Nobody would look at what this job makes. It ends again by itself: one such job must not stop a redrive of many.
  update makeready.jobs j
     set state = 'cancelled', finished_at = makeready.now(),
         error = jsonb_build_object('code', 'superseded', 'message', 'a later render of this document was asked for')
   where j.queue = 'render' and j.id = job
$$;
comment on function makeready.render_supersede(uuid) is 'Cancels a retried job whose document or pack has been rendered again. Internal.';

create or replace function makeready.render_job_turned()
  returns trigger
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_row  makeready.pack_documents;
  v_pack makeready.packs;
begin
  if new.payload ->> 'kind' = 'pack' then
    perform makeready.render_bundle_turned(new);
    return null;
  end if;
  -- The pack first, as whoever asks for a render does: the entry of its document is the second lock, never the first.
  perform 1 from makeready.packs p
    where p.id = (select d.pack_id from makeready.pack_documents d where d.job_id = new.id) for no key update;
  if new.finished_at is not null then
    update makeready.pack_documents d
       set state = 'failed', attempts_used = new.attempt, finished_at = new.finished_at, last_error = makeready.render_problem(new)
     where d.job_id = new.id and d.state = 'queued'
    returning * into v_row;
    update makeready.packs p set open_count = p.open_count - 1 where p.id = v_row.pack_id returning * into v_pack;
    if v_row.seq is not null then        -- else it had ended before, and was told then
      perform makeready.deliver_render(new.id);
    end if;
    perform makeready.deliver_render_alert(new.id);
    if v_pack.is_bundled and v_pack.open_count = 0 then
      perform makeready.render_bundle_add(v_pack);
    end if;
    return null;
  end if;
  begin
    update makeready.pack_documents d set state = 'queued', last_error = null, finished_at = null
     where d.job_id = new.id and d.state = 'failed'
       and not exists (select from makeready.pack_documents n where n.pack_id = d.pack_id and n.doc_id = d.doc_id and n.seq > d.seq)
    returning * into v_row;
  exception when unique_violation then
    v_row := null;             -- a later render was asked for at this very moment
  end;
  if v_row.seq is null then
    perform makeready.render_supersede(new.id);
    return null;
  end if;
  update makeready.packs p set open_count = p.open_count + 1 where p.id = v_row.pack_id;
  return null;
end
$$;
comment on function makeready.render_job_turned() is
  'Carries an end other than success, and an operator''s retry, over to pack_documents and the pack''s count. A retried job whose document has a later render is cancelled again.';

-- A claim, a beat, a retry and a success do not fire it: the hot path pays for one comparison, not for a call.
create or replace trigger render_jobs_reach_the_document
  after update of state on makeready.render_jobs
  for each row
  when (old.state is distinct from new.state
        and (new.state in ('dead', 'cancelled', 'expired') or old.state in ('dead', 'cancelled', 'expired')))
  execute function makeready.render_job_turned();
comment on trigger render_jobs_reach_the_document on makeready.render_jobs is
  'Every end but success, and a retry by an operator, reaches the document.';

grant execute on function makeready.render_input(uuid) to makeready_worker, makeready_ops;
grant execute on function makeready.render_finish(uuid, uuid, jsonb, jsonb, jsonb) to makeready_worker;
