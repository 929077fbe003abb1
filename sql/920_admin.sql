-- What staff sees and does through the HTTP service. A view of 900_ops is for psql; these are its calls for a page.
--
-- Staff sees every user's renders, so nothing here asks whose a thing is; the service checks the permission, and every
-- change is audited under the name of the account (setting makeready.actor of its transaction). Lists are paged by key.

create index if not exists pack_documents_by_change on makeready.pack_documents (coalesce(finished_at, created_at), seq);
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
         (select count(*)::integer from makeready.pack_contents c where c.pack_id = p.id), p.open_count
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

create or replace function makeready.admin_audit(by_action text default null, about text default null, max_rows integer default 50,
    older_than bigint default null)
  returns table (line bigint, happened_at timestamptz, who text, what text, object text, hash_before text, hash_after text,
                 before_values jsonb, after_values jsonb, why text, request text)
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select l.id, l.at, l.actor, l.action, l.target,
         encode(sha256(convert_to(l.before::text, 'UTF8')), 'hex'), encode(sha256(convert_to(l.after::text, 'UTF8')), 'hex'),
         l.before, l.after, l.reason, l.request_id
    from makeready.audit_log l
   where (by_action is null or l.action = by_action)
     and (admin_audit.about is null or l.target = admin_audit.about)
     and (older_than is null or (l.at, l.id) < (select o.at, o.id from makeready.audit_log o where o.id = older_than))
   order by l.at desc, l.id desc
   limit max_rows
$$;
comment on function makeready.admin_audit(text, text, integer, bigint) is
  'The audit log, newest first, with SHA-256 of what was there before and after; older_than is the last line of the page before.';

create or replace function makeready.admin_log(of_kind text default null, max_rows integer default 50, older_than timestamptz default null)
  returns table (happened_at timestamptz, kind text, event text, severity text, object text, facts jsonb, request text)
  language sql
  volatile
  security definer
  set search_path = ''
  set jit = off
as $$
  select m.happened_at, m.kind, m.event, m.severity, m.object, m.facts, m.request
    from ((select l.at, 'audit', l.action, 'info', l.target, jsonb_build_object('actor', l.actor, 'reason', l.reason), l.request_id
             from makeready.audit_log l
            where coalesce(of_kind, 'audit') = 'audit' and l.at < coalesce(older_than, 'infinity')
            order by l.at desc, l.id desc limit max_rows)
          union all
          (select a.created_at, 'alert', a.event, a.severity, a.id::text, a.context, a.request_id
             from makeready.alerts a
            where coalesce(of_kind, 'alert') = 'alert' and a.created_at < coalesce(older_than, 'infinity')
            order by a.created_at desc, a.id desc limit max_rows)
          union all
          (select r.finished_at, 'render', 'render_' || r.state, case r.state when 'failed' then 'error' else 'info' end, r.job_id::text,
                  jsonb_strip_nulls(jsonb_build_object('pack_id', r.pack_id, 'doc_id', r.doc_id, 'error', r.last_error)), null
             from makeready.pack_documents r
            where coalesce(of_kind, 'render') = 'render' and r.finished_at is not null
              and coalesce(r.finished_at, r.created_at) < coalesce(older_than, 'infinity')
            order by coalesce(r.finished_at, r.created_at) desc, r.seq desc limit max_rows)
         ) m (happened_at, kind, event, severity, object, facts, request)
   order by m.happened_at desc
   limit max_rows
$$;
comment on function makeready.admin_log(text, integer, timestamptz) is
  'Audit lines, alerts and ended renders in one list, newest first; older_than is the time of the last line of the page before. of_kind: audit, alert or render.';

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

grant execute on function
  makeready.admin_renders(text, uuid, text, uuid, integer, uuid), makeready.admin_artifacts(uuid), makeready.admin_attempts(uuid, integer),
  makeready.admin_packs(uuid, integer, uuid), makeready.admin_owner(uuid), makeready.admin_file(uuid, text),
  makeready.admin_audit(text, text, integer, bigint), makeready.admin_log(text, integer, timestamptz), makeready.admin_overview(),
  makeready.metrics_read()
to makeready_http;
