-- Render, bundles: the documents of a pack as one PDF with bookmarks, and as one ZIP.
--
-- Whoever ends the last open render of a bundled pack enqueues the job that makes its bundle, in that very transaction,
-- if any document of it is ready. A bundle is made of the files that are ready then; `upto_seq` is the newest render it
-- knows of. It counts as long as no render has been asked for since: a later one makes a bundle of its own, and the job
-- of the earlier one ends without publishing anything. So a bundle never mixes older files with newer ones.
--
--   state   queued ──► ready                      (with two files)
--              │  ▲
--              │  │ an operator's retry
--              ├──► failed
--              └──► superseded                    (the pack was rendered again meanwhile)

create table if not exists makeready.render_bundles (
  seq         bigint      not null generated always as identity constraint render_bundles_pk primary key,
  pack_id     uuid        not null constraint render_bundles_fk_packs references makeready.packs on delete cascade,
  job_id      uuid        constraint render_bundles_unique_job unique,
  state       text        not null constraint render_bundles_state_is_known check (state in ('queued', 'ready', 'failed', 'superseded')),
  upto_seq    bigint      not null,
  pdf_file_id uuid        constraint render_bundles_fk_pdf references makeready.artifact_files,
  zip_file_id uuid        constraint render_bundles_fk_zip references makeready.artifact_files,
  last_error  jsonb,
  created_at  timestamptz not null,
  finished_at timestamptz,
  constraint render_bundles_files_iff_ready check ((pdf_file_id is not null) = (state = 'ready') and (zip_file_id is not null) = (state = 'ready')),
  constraint render_bundles_error_iff_failed check ((last_error is not null) = (state = 'failed')),
  constraint render_bundles_finished_at_iff_ended check ((finished_at is not null) = (state <> 'queued'))
);
create unique index if not exists render_bundles_one_open on makeready.render_bundles (pack_id) where state = 'queued';
create index if not exists render_bundles_latest on makeready.render_bundles (pack_id, seq);
create index if not exists render_bundles_of_pdf on makeready.render_bundles (pdf_file_id) where pdf_file_id is not null;
create index if not exists render_bundles_of_zip on makeready.render_bundles (zip_file_id) where zip_file_id is not null;
create index if not exists render_bundles_without_job on makeready.render_bundles (seq) where state = 'queued' and job_id is null;
comment on table makeready.render_bundles is 'Bundles of packs: one row each time all renders of a pack have ended. The highest seq of a pack is the current one.';
comment on column makeready.render_bundles.seq is 'Order of entry; decides which bundle is the latest.';
comment on column makeready.render_bundles.pack_id is 'The pack.';
comment on column makeready.render_bundles.job_id is 'Its job; null: the queue admits none now, the chore render_bundles_enqueue does it later.';
comment on column makeready.render_bundles.state is 'queued: to be made. ready: has its files. failed: the job ended otherwise. superseded: the pack was rendered again.';
comment on column makeready.render_bundles.upto_seq is 'The newest render of the pack when this bundle was asked for.';
comment on column makeready.render_bundles.pdf_file_id is 'The file with all documents in one PDF.';
comment on column makeready.render_bundles.zip_file_id is 'The file with all documents in one ZIP.';
comment on column makeready.render_bundles.last_error is 'Why it failed: code, message.';
comment on column makeready.render_bundles.created_at is 'When it was asked for.';
comment on column makeready.render_bundles.finished_at is 'When it ended.';

create or replace function makeready.render_ready(of_pack uuid)
  returns table (doc_id text, place integer, title text, file_id uuid)
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select c.doc_id, c.place, coalesce(o.title, makeready.document_title(t, p.lang)), r.file_id
    from makeready.packs p
   cross join makeready.render_parts(p.id) c
    join makeready.document_types t on t.id = c.doc_id
    left join makeready.render_contents o on o.id = c.content_id
   cross join lateral (select d.state, d.file_id from makeready.pack_documents d
                        where d.pack_id = p.id and d.doc_id = c.doc_id order by d.seq desc limit 1) r
   where p.id = of_pack and r.state = 'ready'
$$;
comment on function makeready.render_ready(uuid) is 'The documents of a pack whose latest render has succeeded, in their order, each with its file. Internal.';

create or replace function makeready.render_bundle_is_current(bundle makeready.render_bundles)
  returns boolean
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select not exists (select from makeready.pack_documents d where d.pack_id = bundle.pack_id and d.seq > bundle.upto_seq)
     and not exists (select from makeready.render_bundles b where b.pack_id = bundle.pack_id and b.seq > bundle.seq)
     and exists (select from makeready.packs p where p.id = bundle.pack_id and p.open_count = 0)
$$;
comment on function makeready.render_bundle_is_current(makeready.render_bundles) is
  'Whether a bundle is made of what its pack has now: no render has been asked for since, and none is open.';

create or replace function makeready.render_bundle_enqueue(bundle makeready.render_bundles, to_owner text)
  returns uuid
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select makeready.enqueue('render', jsonb_build_object('kind', 'pack', 'pack_id', bundle.pack_id),
                           owner_key => to_owner, batch_key => bundle.pack_id)
$$;
comment on function makeready.render_bundle_enqueue(makeready.render_bundles, text) is 'Adds the job of a bundle and returns its id. Internal.';

-- Called with the pack locked, by whoever has brought its count to 0.
create or replace function makeready.render_bundle_add(of_pack makeready.packs)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_now    timestamptz := makeready.now();
  v_bundle makeready.render_bundles;
begin
  update makeready.render_bundles b set state = 'superseded', finished_at = v_now where b.pack_id = of_pack.id and b.state = 'queued';
  if not exists (select from makeready.render_ready(of_pack.id)) then
    return;
  end if;
  insert into makeready.render_bundles (pack_id, state, upto_seq, created_at)
  select of_pack.id, 'queued', max(d.seq), v_now from makeready.pack_documents d where d.pack_id = of_pack.id
  returning * into v_bundle;
  -- A full or closed queue must not undo the end of a render, and its gate is not for whoever holds a pack.
  if exists (select from makeready.queues q where q.queue = 'render' and q.max_open is null and q.closed_at is null) then
    update makeready.render_bundles b set job_id = makeready.render_bundle_enqueue(v_bundle, coalesce(of_pack.user_id::text, ''))
     where b.seq = v_bundle.seq;
  end if;
end
$$;
comment on function makeready.render_bundle_add(makeready.packs) is
  'Asks for the bundle of a locked pack without open renders, if any document of it is ready; an earlier one that is not made yet is superseded. Internal.';

create or replace function makeready.render_bundles_enqueue(max_rows integer)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_bundle makeready.render_bundles;
  v_count  integer := 0;
begin
  for v_bundle in
    select b.* from makeready.render_bundles b where b.state = 'queued' and b.job_id is null
     order by b.seq limit max_rows for update skip locked
  loop
    begin
      update makeready.render_bundles b
         set job_id = makeready.render_bundle_enqueue(v_bundle, (select coalesce(p.user_id::text, '') from makeready.packs p where p.id = b.pack_id))
       where b.seq = v_bundle.seq;
      v_count := v_count + 1;
    exception when sqlstate 'MR429' or sqlstate 'MR503' then
      exit;                      -- still full or closed: the next time
    end;
  end loop;
  if v_count > 0 then
    perform makeready.wake('render');
  end if;
  return v_count;
end
$$;
comment on function makeready.render_bundles_enqueue(integer) is 'Adds the jobs of bundles that the queue did not admit when they were asked for.';
select makeready.chore_create('render_bundles_enqueue', '5 seconds');

create or replace function makeready.render_bundle_parts(job uuid)
  returns table (pack_id uuid, language_code text, doc_id text, title text, bucket_name text, object_name text, byte_count bigint)
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select b.pack_id, p.lang, d.doc_id, d.title, f.bucket, f.object_key, f.size_bytes
    from makeready.render_bundles b
    join makeready.packs p on p.id = b.pack_id
   cross join makeready.render_ready(p.id) d
    join makeready.artifact_files a on a.id = d.file_id
    join makeready.files f on f.id = a.stored_id
   where b.job_id = render_bundle_parts.job and b.state = 'queued' and makeready.render_bundle_is_current(b)
   order by d.place
$$;
comment on function makeready.render_bundle_parts(uuid) is 'What the job of a bundle is to put together, in order; no row when it is superseded.';

create or replace function makeready.render_bundle_file(of_pack makeready.packs, sort text, stored jsonb, facts jsonb)
  returns uuid
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_now      timestamptz := makeready.now();
  v_file     uuid := makeready.uuid7();
  v_artifact uuid := makeready.uuid7();
  v_stored   uuid := makeready.file_keep(stored, v_file);
begin
  insert into makeready.artifacts (id, session_id, kind, format, meta, created_at)
  values (v_artifact, of_pack.session_id, 'pack_' || sort, sort, facts || jsonb_build_object('pack_id', of_pack.id, 'language', of_pack.lang), v_now);
  insert into makeready.artifact_files (id, artifact_id, stored_id, filename, created_at)
  values (v_file, v_artifact, v_stored, 'pack.' || sort, v_now);
  return v_file;
end
$$;
comment on function makeready.render_bundle_file(makeready.packs, text, jsonb, jsonb) is 'Enters a file of a bundle as an artifact of its pack and returns its file id. Internal.';

create or replace function makeready.render_bundle_finish(job uuid, token uuid, stored_pdf jsonb, stored_zip jsonb, facts jsonb default '{}')
  returns text
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_facts   jsonb := facts || jsonb_build_object('pack_job_id', job);
  v_verdict text;
  v_bundle  makeready.render_bundles;
  v_pack    makeready.packs;
begin
  v_verdict := makeready.finish('render', job, token, facts);
  select * into v_bundle from makeready.render_bundles b where b.job_id = job;
  if v_verdict <> 'ok' then          -- the answer was lost: it is the same again
    return case v_bundle.state when 'superseded' then 'superseded' else v_verdict end;
  end if;
  -- The pack first, as whoever asks for a render does; what is read after this is what they have left.
  select * into v_pack from makeready.packs p where p.id = v_bundle.pack_id for no key update;
  select * into v_bundle from makeready.render_bundles b where b.job_id = job;
  if v_bundle.state is distinct from 'queued' or not makeready.render_bundle_is_current(v_bundle) then
    update makeready.render_bundles b set state = 'superseded', finished_at = makeready.now() where b.seq = v_bundle.seq and b.state = 'queued';
    return 'superseded';
  end if;
  update makeready.render_bundles b
     set state = 'ready', finished_at = makeready.now(),
         pdf_file_id = makeready.render_bundle_file(v_pack, 'pdf', stored_pdf, v_facts),
         zip_file_id = makeready.render_bundle_file(v_pack, 'zip', stored_zip, v_facts)
   where b.seq = v_bundle.seq;
  insert into makeready.render_surplus (pack_id)
  select v_pack.id where exists (select from makeready.render_bundles b where b.pack_id = v_pack.id and b.seq < v_bundle.seq and b.state = 'ready')
  on conflict do nothing;
  perform makeready.deliver_bundle(job);
  return v_verdict;
end
$$;
comment on function makeready.render_bundle_finish(uuid, uuid, jsonb, jsonb, jsonb) is
  'Ends the job of a bundle and publishes its two files in one transaction: ok, repeat when this lease has done so before, superseded when the pack was rendered again: then nothing is published, and the stored objects are nobody''s. MR001: the lease is lost.';

create or replace function makeready.render_bundle_turned(turned makeready.jobs)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_bundle makeready.render_bundles;
begin
  perform 1 from makeready.packs p
    where p.id = (select b.pack_id from makeready.render_bundles b where b.job_id = turned.id) for no key update;
  select * into v_bundle from makeready.render_bundles b where b.job_id = turned.id;
  if turned.finished_at is not null then
    update makeready.render_bundles b
       set state = 'failed', finished_at = turned.finished_at, last_error = makeready.render_problem(turned)
     where b.seq = v_bundle.seq and b.state = 'queued';
    if found then                        -- else it had ended before, and was told then
      perform makeready.deliver_bundle(turned.id);
    end if;
    perform makeready.deliver_render_alert(turned.id);
  elsif v_bundle.state = 'failed' and makeready.render_bundle_is_current(v_bundle) then
    update makeready.render_bundles b set state = 'queued', finished_at = null, last_error = null where b.seq = v_bundle.seq;
  else
    perform makeready.render_supersede(turned.id);
  end if;
end
$$;
comment on function makeready.render_bundle_turned(makeready.jobs) is
  'Carries an end other than success, and an operator''s retry, over to a bundle. A retried job whose pack was rendered again is cancelled.';

grant execute on function makeready.render_bundle_parts(uuid) to makeready_worker, makeready_ops;
grant execute on function makeready.render_bundle_finish(uuid, uuid, jsonb, jsonb, jsonb) to makeready_worker;
