-- What staff sees and does through the HTTP service. A view of 900_ops is for psql; these are its calls for a page.
--
-- Staff sees every user's renders, so nothing here asks whose a thing is; the service checks the permission, and every
-- change is audited under the name of the account (setting makeready.actor of its transaction). Lists are paged by key.

create index if not exists pack_documents_by_change on makeready.pack_documents (coalesce(finished_at, created_at), seq);
create index if not exists pack_documents_failed on makeready.pack_documents (coalesce(finished_at, created_at), seq) where state = 'failed';
create index if not exists posm_generations_by_end on makeready.posm_generations (finished_at, seq) where finished_at is not null;
create index if not exists audit_log_newest on makeready.audit_log (at, id);
create index if not exists packs_newest on makeready.packs (created_at, id);

create or replace function makeready.admin_renders(in_state text default null, of_pack uuid default null, of_document text default null,
    of_job uuid default null, max_rows integer default 50, after_job uuid default null)
  returns table (job uuid, pack uuid, session uuid, owner_id uuid, doc text, public_state text, attempts_made integer,
                 attempts_allowed integer, error_text text, file uuid, made_at timestamptz, changed_at timestamptz)
  language sql
  volatile
  security definer
  set search_path = ''
  set jit = off
as $$
  select r.job_id, r.pack_id, p.session_id, p.user_id, r.doc_id, makeready.render_state(r.state, j.state),
         case r.state when 'queued' then coalesce(j.attempt, 0) else r.attempts_used end, coalesce(j.max_attempts, q.max_attempts),
         makeready.render_error_text(case r.state when 'queued' then j.error else r.last_error end), r.file_id,
         r.created_at, coalesce(r.finished_at, r.created_at)
    from makeready.pack_documents r
    join makeready.packs p on p.id = r.pack_id
    join makeready.queues q on q.queue = 'render'
    left join makeready.jobs j on j.queue = 'render' and j.id = r.job_id
   where (in_state is null or makeready.render_state(r.state, j.state) = in_state)
     and (of_pack is null or r.pack_id = of_pack)
     and (of_document is null or r.doc_id = of_document)
     and (of_job is null or r.job_id = of_job)
     and (after_job is null or (coalesce(r.finished_at, r.created_at), r.seq) < (
           select coalesce(o.finished_at, o.created_at), o.seq from makeready.pack_documents o where o.job_id = after_job))
   order by coalesce(r.finished_at, r.created_at) desc, r.seq desc
   limit max_rows
$$;
comment on function makeready.admin_renders(text, uuid, text, uuid, integer, uuid) is
  'All users'' renders, those that changed last first; after_job is the last job of the page before.';

create or replace function makeready.admin_artifacts(of_job uuid)
  returns table (artifact uuid, sort text, made_at timestamptz, file uuid, download_name text, media_type text, byte_count bigint)
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select t.id, t.kind, t.created_at, a.id, a.filename, f.content_type, f.size_bytes
    from makeready.artifacts t
    join makeready.artifact_files a on a.artifact_id = t.id
    join makeready.files f on f.id = a.stored_id
   where t.meta ->> 'render_job_id' = of_job::text
   order by a.created_at, a.id
$$;
comment on function makeready.admin_artifacts(uuid) is 'The files that a render job made.';

create or replace function makeready.admin_attempts(of_job uuid, max_rows integer default 50)
  returns table (attempt_number integer, how text, problem jsonb, began_at timestamptz, over_at timestamptz)
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select h.attempt, h.outcome, h.error, h.started_at, h.ended_at
    from makeready.attempt_history h
   where h.queue = 'render' and h.job_id = of_job
   order by h.ended_at desc nulls first
   limit max_rows
$$;
comment on function makeready.admin_attempts(uuid, integer) is 'The attempts of a render job, the last one first.';

create or replace function makeready.admin_packs(of_user uuid default null, max_rows integer default 50, older_than uuid default null)
  returns table (pack uuid, session uuid, owner_id uuid, owner_name text, made_at timestamptz, language_code text,
                 documents integer, documents_open integer)
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select p.id, p.session_id, p.user_id, u.name, p.created_at, p.lang,
         (select count(*)::integer from makeready.render_parts(p.id)), p.open_count
    from makeready.packs p
    left join makeready.users u on u.id = p.user_id
   where (of_user is null or p.user_id = of_user)
     and (older_than is null or (p.created_at, p.id) < (select o.created_at, o.id from makeready.packs o where o.id = older_than))
   order by p.created_at desc, p.id desc
   limit max_rows
$$;
comment on function makeready.admin_packs(uuid, integer, uuid) is 'All users'' packs, newest first; older_than is the last pack of the page before.';

create or replace function makeready.admin_owner(of_pack uuid)
  returns uuid
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_owner uuid;
begin
  select p.user_id into v_owner from makeready.packs p where p.id = of_pack;
  if not found then
    perform makeready.render_refuse_pack(of_pack);
  end if;
  return v_owner;
end
$$;
comment on function makeready.admin_owner(uuid) is 'Whose a pack is; null: nobody''s. MR404 when there is none.';

create or replace function makeready.admin_file(file uuid, because text default null)
  returns table (bucket_name text, object_name text, download_name text, media_type text, byte_count bigint, hash_sha256 bytea)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  return query
    select f.bucket, f.object_key, a.filename, f.content_type, f.size_bytes, f.sha256
      from makeready.artifact_files a join makeready.files f on f.id = a.stored_id
     where a.id = file;
  if found then
    perform makeready.audit('file_download', file::text, null, null, because);
  end if;
end
$$;
comment on function makeready.admin_file(uuid, text) is 'Where any user''s file lies; that somebody asked is audited. No row: there is none.';

drop function if exists makeready.admin_audit(text, text, integer, bigint);
create or replace function makeready.admin_audit(by_action text default null, about text default null, max_rows integer default 50,
    older_than bigint default null)
  returns table (line bigint, happened_at timestamptz, who text, what text, object text, hash_before text, hash_after text,
                 before_values jsonb, after_values jsonb, why text, request text,
                 asked_from text)
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select l.id, l.at, l.actor, l.action, l.target,
         encode(sha256(convert_to(l.before::text, 'UTF8')), 'hex'), encode(sha256(convert_to(l.after::text, 'UTF8')), 'hex'),
         l.before, l.after, l.reason, l.request_id, l.client_address
    from makeready.audit_log l
   where (by_action is null or l.action = by_action)
     and (admin_audit.about is null or l.target = admin_audit.about)
     and (older_than is null or (l.at, l.id) < (select o.at, o.id from makeready.audit_log o where o.id = older_than))
   order by l.at desc, l.id desc
   limit max_rows
$$;
comment on function makeready.admin_audit(text, text, integer, bigint) is
  'The audit log, newest first, with SHA-256 of what was there before and after; older_than is the last line of the page before.';

drop function if exists makeready.admin_log(text, integer, timestamptz);
create or replace function makeready.admin_log(of_kind text default null, max_rows integer default 50, older_than timestamptz default null,
    below text default '')
  returns table (happened_at timestamptz, line text, kind text, event text, severity text, object text, facts jsonb, request text)
  language sql
  volatile
  security definer
  set search_path = ''
  set jit = off
as $$
  -- Of one moment there may be many lines: line puts them in an order of their own.
  select m.happened_at, m.line, m.kind, m.event, m.severity, m.object, m.facts, m.request
    from ((select l.at, 'audit-' || lpad(l.id::text, 19, '0') collate "C", 'audit', l.action, 'info', l.target,
                  jsonb_build_object('actor', l.actor, 'reason', l.reason), l.request_id
             from makeready.audit_log l
            where coalesce(of_kind, 'audit') = 'audit' and l.at <= coalesce(older_than, 'infinity')
              and (older_than is null or l.at < older_than or 'audit-' || lpad(l.id::text, 19, '0') collate "C" < below)
            order by l.at desc, l.id desc limit max_rows)
          union all
          (select a.created_at, 'alert-' || a.id, 'alert', a.event, a.severity, a.id::text, a.context, a.request_id
             from makeready.alerts a
            where coalesce(of_kind, 'alert') = 'alert' and a.created_at <= coalesce(older_than, 'infinity')
              and (older_than is null or a.created_at < older_than or ('alert-' || a.id) collate "C" < below)
            order by a.created_at desc, a.id desc limit max_rows)
          union all
          (select r.finished_at, 'render-' || lpad(r.seq::text, 19, '0'), 'render', 'render_' || r.state,
                  case r.state when 'failed' then 'error' else 'info' end, r.job_id::text,
                  jsonb_strip_nulls(jsonb_build_object('pack_id', r.pack_id, 'doc_id', r.doc_id, 'error', r.last_error)), null
             from makeready.pack_documents r
            where coalesce(of_kind, 'render') = 'render' and r.finished_at is not null
              and coalesce(r.finished_at, r.created_at) <= coalesce(older_than, 'infinity')
              and (older_than is null or r.finished_at < older_than or ('render-' || lpad(r.seq::text, 19, '0')) collate "C" < below)
            order by coalesce(r.finished_at, r.created_at) desc, r.seq desc limit max_rows)
          union all
          (select g.finished_at, 'posm-' || lpad(g.seq::text, 19, '0'), 'posm', 'posm_' || case when g.failure_code is null then 'done' else 'error' end,
                  case when g.failure_code is null then 'info' else 'error' end, g.id::text,
                  jsonb_strip_nulls(jsonb_build_object('restaurant_id', g.restaurant_id, 'template_id', g.template_id, 'version', g.version,
                                                       'tables', g.tables_total, 'code', g.failure_code, 'comment', g.comment)), null
             from makeready.posm_generations g
            where coalesce(of_kind, 'posm') = 'posm' and g.finished_at is not null and g.finished_at <= coalesce(older_than, 'infinity')
              and (older_than is null or g.finished_at < older_than or ('posm-' || lpad(g.seq::text, 19, '0')) collate "C" < below)
            order by g.finished_at desc, g.seq desc limit max_rows)
         ) m (happened_at, line, kind, event, severity, object, facts, request)
   order by m.happened_at desc, m.line collate "C" desc
   limit max_rows
$$;
comment on function makeready.admin_log(text, integer, timestamptz, text) is
  'Audit lines, alerts, ended renders and generations in one list, newest first; older_than and below are time and line of the last one of the page before. of_kind: audit, alert, render or posm.';

create or replace function makeready.admin_overview()
  returns jsonb
  language sql
  volatile
  security definer
  set search_path = ''
  set jit = off
as $$
  select jsonb_build_object(
    'queues', (select coalesce(jsonb_agg(to_jsonb(o) order by o.queue), '[]') from makeready.queue_overview o),
    'workers', (select coalesce(jsonb_agg(jsonb_build_object('instance', w.instance, 'host', w.host, 'queues', w.queues, 'running', w.running,
                  'is_lost', w.is_lost, 'draining_at', w.draining_at, 'started_at', w.started_at) order by w.instance), '[]')
                  from makeready.worker_overview w),
    'alerts_open', (select count(*) from (select from makeready.alerts a where a.acked_at is null limit 10000) x),
    'failures', (select coalesce(jsonb_agg(to_jsonb(d) order by d.jobs desc), '[]') from makeready.dead_jobs d),
    'chores_failing', (select coalesce(jsonb_agg(c.chore order by c.chore), '[]') from makeready.chores c where c.failures > 0))
$$;
comment on function makeready.admin_overview() is 'Queues, workers, open alerts, failures by code and failing chores: what an operator looks at first.';

create or replace function makeready.metrics_read()
  returns table (metric text, labels jsonb, number float8)
  language sql
  volatile
  security definer
  set search_path = ''
  set jit = off
as $$
  select m.name, m.labels, m.value from makeready.metrics m order by m.name, m.labels::text
$$;
comment on function makeready.metrics_read() is 'The view makeready.metrics for a process that may read no view.';

create or replace function makeready.admin_requeue(failed_job uuid)
  returns uuid
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_row    makeready.pack_documents;
  v_pack   makeready.packs;
  v_active uuid;
  v_new    uuid := makeready.uuid7();
begin
  select * into v_row from makeready.pack_documents r where r.job_id = failed_job;
  if not found then
    raise exception 'there is no render job %', coalesce(failed_job::text, 'null')
      using errcode = 'MR404', detail = json_build_object('code', 'job_not_found', 'job_id', failed_job),
            hint = 'makeready.admin_renders() lists them.';
  end if;
  v_pack := makeready.render_lock_pack(makeready.admin_owner(v_row.pack_id), v_row.pack_id);
  -- Read again behind the pack's lock: its end, or another staff member's click, may have come first.
  select * into v_row from makeready.pack_documents r where r.job_id = failed_job;
  select r.job_id into v_active from makeready.pack_documents r
   where r.pack_id = v_row.pack_id and r.doc_id = v_row.doc_id and r.state = 'queued';
  if found then
    raise exception 'document % of pack % is being rendered already', v_row.doc_id, v_row.pack_id
      using errcode = 'MR409', detail = json_build_object('code', 'already_in_progress', 'job_id', v_active, 'pack_id', v_row.pack_id, 'doc_id', v_row.doc_id),
            hint = 'Wait for that job.';
  elsif v_row.state <> 'failed' then
    raise exception 'job % is %, only a failed one can be requeued', failed_job, v_row.state
      using errcode = 'MR422', detail = json_build_object('code', 'invalid_request', 'reason', 'invalid_status', 'job_id', failed_job, 'status', v_row.state),
            hint = 'A finished document is rendered anew by its owner.';
  end if;
  perform makeready.render_type(v_row.layout);
  perform makeready.render_refuse_spent(o)
     from makeready.render_parts(v_row.pack_id) c join makeready.render_contents o on o.id = c.content_id
    where c.doc_id = v_row.doc_id and makeready.render_is_spent(o);
  perform makeready.render_add(v_pack, array[v_row.doc_id], v_new, array[v_new]);
  perform makeready.audit('render_requeue', failed_job::text, jsonb_build_object('job_id', failed_job, 'state', v_row.state),
                          jsonb_build_object('job_id', v_new, 'state', 'queued'), null);
  return v_new;
end
$$;
comment on function makeready.admin_requeue(uuid) is
  'Renders a failed document once more, by a new job whose id it returns. MR404 unknown, MR422 it has not failed, MR409 a later render of it is open, MR410 its sources are gone.';

create or replace function makeready.admin_requeue_failed(max_rows integer default 100)
  returns table (failed_considered integer, jobs_enqueued integer, skipped_in_progress integer, skipped_incomplete integer, error_texts text[])
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
as $$
declare
  v_row        record;
  v_considered integer := 0;
  v_enqueued   integer := 0;
  v_open       integer := 0;
  v_incomplete integer := 0;
  v_errors     text[] := '{}';
begin
  for v_row in
    select l.job_id from (
      select r.job_id, r.pack_id, r.seq from makeready.pack_documents r
       where r.state = 'failed'
         and not exists (select from makeready.pack_documents n where n.pack_id = r.pack_id and n.doc_id = r.doc_id and n.seq > r.seq)
       order by coalesce(r.finished_at, r.created_at), r.seq limit max_rows) l
     order by l.pack_id, l.seq          -- packs are locked in one order, whoever else does the same
  loop
    v_considered := v_considered + 1;
    begin
      perform makeready.admin_requeue(v_row.job_id);
      v_enqueued := v_enqueued + 1;
    exception
      when sqlstate 'MR409' then v_open := v_open + 1;
      when sqlstate 'MR403' or sqlstate 'MR404' or sqlstate 'MR410' or sqlstate 'MR422' then v_incomplete := v_incomplete + 1;
      when sqlstate 'MR429' or sqlstate 'MR503' then
        v_errors := v_errors || format('%s: %s', v_row.job_id, sqlerrm);
        exit when cardinality(v_errors) >= 10;
    end;
  end loop;
  return query select v_considered, v_enqueued, v_open, v_incomplete, v_errors;
end
$$;
comment on function makeready.admin_requeue_failed(integer) is
  'Renders again the documents whose latest render has failed, the oldest failures first. Left out: those with a render open, and those that can no longer be printed. error_texts: at most ten.';

create or replace function makeready.admin_render_pack(any_pack uuid)
  returns table (verdict text, jobs_created integer, jobs_skipped integer, job_ids uuid[])
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  return query select r.verdict, r.jobs_created, r.jobs_skipped, r.job_ids
    from makeready.render_pack(makeready.admin_owner(any_pack), any_pack) r;
  perform makeready.audit('render_pack', any_pack::text, null, null, null);
end
$$;
comment on function makeready.admin_render_pack(uuid) is 'render_pack of anybody''s pack, audited.';

grant execute on function
  makeready.admin_renders(text, uuid, text, uuid, integer, uuid), makeready.admin_artifacts(uuid), makeready.admin_attempts(uuid, integer),
  makeready.admin_packs(uuid, integer, uuid), makeready.admin_owner(uuid), makeready.admin_file(uuid, text),
  makeready.admin_audit(text, text, integer, bigint), makeready.admin_log(text, integer, timestamptz, text), makeready.admin_overview(),
  makeready.admin_requeue(uuid), makeready.admin_requeue_failed(integer), makeready.admin_render_pack(uuid),
  makeready.metrics_read()
to makeready_http;
