-- Evidence: what a worker saw of an attempt that failed, for whoever has to find out why.
--
-- One archive in storage an attempt: the HTML that was printed, what the engine noted, a picture where there was one. It
-- holds what its owner gave and what the inside looks like, so it is for staff; each look at it is audited. The newest
-- three of a job stay, for the time that `retention` says. What was to be printed needs no copy: it never changes.

create table if not exists makeready.render_evidence (
  id         uuid        not null constraint render_evidence_pk primary key,
  job_id     uuid        not null,
  attempt    integer     not null,
  code       text        not null constraint render_evidence_code_is_short check (length(code) between 1 and 200),
  stored_id  uuid        not null constraint render_evidence_fk_files references makeready.files,
  created_at timestamptz not null
);
create index if not exists render_evidence_of_job on makeready.render_evidence (job_id, id);
create index if not exists render_evidence_of_stored on makeready.render_evidence (stored_id);
create index if not exists render_evidence_oldest on makeready.render_evidence (created_at);
comment on table makeready.render_evidence is 'Archives of failed attempts.';
comment on column makeready.render_evidence.id is 'UUID version 7; also the reference under which files keeps the archive.';
comment on column makeready.render_evidence.job_id is 'The job; no foreign key, since jobs are pruned.';
comment on column makeready.render_evidence.attempt is 'Number of the attempt when it ran.';
comment on column makeready.render_evidence.code is 'Why it failed.';
comment on column makeready.render_evidence.stored_id is 'The archive.';
comment on column makeready.render_evidence.created_at is 'When it was kept.';

create or replace trigger render_evidence_lets_go
  after delete on makeready.render_evidence referencing old table as gone
  for each statement execute function makeready.file_referrers_gone();
comment on trigger render_evidence_lets_go on makeready.render_evidence is 'The archives of forgotten evidence are deleted with the unused files.';

create or replace function makeready.render_evidence_drop(evidence_ids uuid[])
  returns integer language sql volatile security definer set search_path = ''
as $$
  with gone as (delete from makeready.render_evidence e where e.id = any (evidence_ids) returning e.id) select count(*)::integer from gone
$$;
comment on function makeready.render_evidence_drop(uuid[]) is 'Forgets evidence; its archives are deleted with the unused files. Internal.';

create or replace function makeready.render_refuse_job(job uuid)
  returns void language plpgsql volatile security definer set search_path = ''
as $$
begin
  raise exception 'there is no render job %', coalesce(job::text, 'null')
    using errcode = 'MR404', detail = json_build_object('code', 'job_not_found', 'job_id', job),
          hint = 'select job_id, state from makeready.pack_documents order by seq desc lists renders.';
end
$$;
comment on function makeready.render_refuse_job(uuid) is 'Raises MR404 for a render that is unknown.';

create or replace function makeready.render_evidence_keep(job uuid, token uuid, fault text, bucket_name text, object_name text,
    byte_count bigint, hash_sha256 bytea, etag_value text)
  returns uuid
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_id      uuid := makeready.uuid7();
  v_attempt integer;
  v_stored  uuid;
begin
  -- Who has lost the lease says nothing about the job any more; its archive is found by the orphan scan.
  select j.attempt into v_attempt from makeready.jobs j where j.queue = 'render' and j.id = job and j.lease = token for no key update;
  if not found then
    perform makeready.refuse_lost('render', job);
  end if;
  if not exists (select from makeready.pack_documents d where d.job_id = job)
     and not exists (select from makeready.render_bundles b where b.job_id = job) then
    perform makeready.render_refuse_job(job);      -- its pack was deleted: nothing of it is kept
  end if;
  v_stored := makeready.file_store(bucket_name, object_name, 'application/zip', byte_count, hash_sha256, etag_value, v_id);
  insert into makeready.render_evidence (id, job_id, attempt, code, stored_id, created_at)
  values (v_id, job, v_attempt, fault, v_stored, makeready.now());
  perform makeready.render_evidence_drop(array(select e.id from makeready.render_evidence e where e.job_id = job order by e.id desc offset 3));
  return v_id;
end
$$;
comment on function makeready.render_evidence_keep(uuid, uuid, text, text, text, bigint, bytea, text) is
  'Enters the archive of a failing attempt, before it ends, and forgets all but the newest three of its job. MR001: the lease is lost. MR404: its pack was deleted.';

create or replace function makeready.render_evidence_of(job uuid)
  returns table (evidence_id uuid, attempt_number integer, fault text, kept_at timestamptz, kept_until timestamptz,
                 bucket_name text, object_name text, byte_count bigint)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  if not exists (select from makeready.jobs j where j.queue = 'render' and j.id = job)
     and not exists (select from makeready.pack_documents d where d.job_id = job) then
    perform makeready.render_refuse_job(job);
  end if;
  perform makeready.audit('render_evidence_read', job::text, null, null, null);
  return query
    select e.id, e.attempt, e.code, e.created_at, e.created_at + r.keep_for, f.bucket, f.object_key, f.size_bytes
      from makeready.render_evidence e
      join makeready.files f on f.id = e.stored_id
      join makeready.retention r on r.subject = 'render_evidence'
     where e.job_id = job order by e.id desc;
end
$$;
comment on function makeready.render_evidence_of(uuid) is
  'The evidence of a job, the newest attempt first. For staff; the look is audited. MR404: no such render.';

create or replace function makeready.render_evidence_purge(max_rows integer)
  returns integer
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select makeready.render_evidence_drop(array(
    select e.id from makeready.render_evidence e, (select makeready.kept_since('render_evidence') as moment) k
     where e.created_at < k.moment order by e.created_at limit max_rows for update of e skip locked))
$$;
comment on function makeready.render_evidence_purge(integer) is 'Forgets evidence past its retention.';

select makeready.retention_create('render_evidence', '14 days');
select makeready.chore_create('render_evidence_purge', '10 minutes');

grant execute on function makeready.render_evidence_keep(uuid, uuid, text, text, text, bigint, bytea, text) to makeready_worker;
grant execute on function makeready.render_evidence_of(uuid) to makeready_http, makeready_ops;
