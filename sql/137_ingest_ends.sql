-- Ingest, ends other than success, and what is left to do when the booth has its answer.

create or replace function makeready.ingest_job_turned()
  returns trigger
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_photo   makeready.photos;
  v_reason  text;
  v_problem jsonb := coalesce(nullif(new.error, '{}'), jsonb_build_object('code', new.state, 'message', 'the job was ' || new.state));
  v_facts   jsonb := makeready.ingest_scalars(v_problem - 'message');
  v_ms      integer := (v_facts ->> 'provider_latency_ms')::float8;
begin
  if new.finished_at is null then
    raise exception 'photo % has ended and is never processed again', new.id
      using errcode = 'MR409', detail = json_build_object('code', 'conflict', 'reason', 'final', 'job_id', new.id, 'state', old.state),
            hint = 'The booth has its answer. Post the photo anew, or try the slot by a test run.';
  end if;
  v_reason := case when new.state = 'cancelled' then 'cancelled'
                   when new.state = 'expired' or new.error ->> 'code' = 'lease_lost' then 'timeout'
                   else 'provider_error' end;
  update makeready.photos p
     set finished_at = new.finished_at, started_at = new.started_at, failure_reason = v_reason,
         failure = v_facts || jsonb_build_object('message', left(v_problem ->> 'message', 2048))
   where p.id = new.id and p.finished_at is null
  returning * into v_photo;
  if not found then
    return null;               -- a job that is no photo's
  end if;
  if v_ms is not null then
    insert into makeready.processing_logs (job_id, slot_id, provider_id, status, occurred_at, details, provider_latency_ms)
    values (new.id, v_photo.slot_id, coalesce(v_facts ->> 'provider', v_photo.provider_id), 'provider_responded', new.finished_at, v_facts, v_ms);
  end if;
  insert into makeready.processing_logs (job_id, slot_id, provider_id, status, failure_reason, occurred_at, message, details, provider_latency_ms)
  values (new.id, v_photo.slot_id, coalesce(v_facts ->> 'provider', v_photo.provider_id), case v_reason when 'timeout' then 'timeout' else 'failed' end,
          v_reason, new.finished_at, left(v_problem ->> 'message', 1024),
          v_facts || jsonb_build_object('provider_id', coalesce(v_facts ->> 'provider', v_photo.provider_id), 'failure_reason', v_reason,
                                        'error', left(v_problem ->> 'message', 2048), 'expires_at', v_photo.expires_at,
                                        'attempt', (new.started_at is not null)::integer), v_ms);      -- the job's own count takes back one that was snoozed
  return null;
end
$$;
comment on function makeready.ingest_job_turned() is
  'Carries an end other than success over to the photo and its log: expired, or its worker lost, is a timeout; dead a provider_error. An operator''s retry is refused: MR409.';

-- A claim and a success do not fire it.
create or replace trigger ingest_jobs_reach_the_photo
  after update of state on makeready.ingest_jobs
  for each row
  when (old.state is distinct from new.state
        and (new.state in ('dead', 'cancelled', 'expired') or old.state in ('dead', 'cancelled', 'expired')))
  execute function makeready.ingest_job_turned();
comment on trigger ingest_jobs_reach_the_photo on makeready.ingest_jobs is 'Every end but success reaches the photo, and none is taken back.';

create or replace function makeready.ingest_close(of_job makeready.jobs, why_ended text, said text, moment timestamptz)
  returns text
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_to      text := case why_ended when 'timeout' then 'expired' else 'cancelled' end;
  v_problem jsonb := jsonb_build_object('code', why_ended, 'message', said);
begin
  update makeready.jobs j set state = v_to, error = v_problem, finished_at = moment, lease = null, seat = null, run_until = null
   where j.queue = 'ingest' and j.id = of_job.id;
  if of_job.state = 'running' then
    insert into makeready.attempts (queue, job_id, attempt, outcome, error, worker_id, started_at, ended_at)
    values ('ingest', of_job.id, of_job.attempt, v_to, v_problem, of_job.worker_id, of_job.started_at, moment);
    perform pg_notify('makeready', 'cancel ingest ' || of_job.id);
  end if;
  perform makeready.announce('ingest', array[of_job.id]);
  return v_to;
end
$$;
comment on function makeready.ingest_close(makeready.jobs, text, text, timestamptz) is
  'Ends a locked, open job of a photo at once, running or not, and frees its place; its worker drops it at the next beat. Internal.';

create or replace function makeready.ingest_end(job uuid, why_ended text)
  returns text
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_job     makeready.jobs;
  v_waiters integer;
begin
  if why_ended is null or why_ended not in ('timeout', 'cancelled') then
    raise exception 'a photo cannot be ended by %', coalesce(quote_literal(why_ended), 'null')
      using errcode = 'MR422', detail = json_build_object('job_id', job), hint = 'timeout or cancelled.';
  end if;
  perform makeready.ingest_async();
  select * into v_job from makeready.jobs j where j.queue = 'ingest' and j.id = job for no key update;
  if not found then
    raise exception 'there is no photo %', job
      using errcode = 'MR404', detail = json_build_object('code', 'job_not_found', 'job_id', job), hint = 'It was never let in, or long ago.';
  elsif v_job.finished_at is not null then
    return v_job.state;
  end if;
  if why_ended = 'cancelled' then
    select cardinality(p.waiters) into v_waiters from makeready.photos p where p.id = job for no key update;
    if v_waiters > 1 then
      return v_job.state;        -- somebody else waits for it
    end if;
  end if;
  return makeready.ingest_close(v_job, why_ended, case why_ended when 'timeout' then 'it was not ready in time' else 'nobody waits for it any more' end,
                                makeready.now());
end
$$;
comment on function makeready.ingest_end(uuid, text) is
  'Ends a photo for its waiting request, by timeout or cancelled, unless it has ended: the state of its job. done: the result came in the last moment, send it. cancelled leaves a photo alone for which another request waits. Frees its place at once. Does not wait for the disk, unless is_durable. MR404.';

create or replace function makeready.ingest_answered(job uuid, http_status integer, waiting uuid default null)
  returns setof jsonb
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_job   makeready.jobs;
  v_photo makeready.photos;
  v_place integer;
  v_now   timestamptz;
begin
  perform makeready.ingest_async();
  select * into v_photo from makeready.photos p where p.id = job;
  if v_photo.finished_at is null then      -- its job first, as everybody does
    select * into v_job from makeready.jobs j where j.queue = 'ingest' and j.id = job for no key update;
  end if;
  select * into v_photo from makeready.photos p where p.id = job for no key update;
  if not found or cardinality(v_photo.waiters) = 0 then
    return;
  end if;
  v_now := makeready.now();
  v_place := coalesce(array_position(v_photo.waiters, waiting), 1);
  v_photo.waiters := v_photo.waiters[: v_place - 1] || v_photo.waiters[v_place + 1 :];
  if v_photo.finished_at is null and v_job.finished_at is null and v_job.id is not null and cardinality(v_photo.waiters) = 0 then
    perform makeready.ingest_close(v_job, 'cancelled', 'nobody waits for it any more', v_now);
  end if;
  update makeready.photos p
     set waiters = v_photo.waiters, answered_with = http_status, answered_at = case when cardinality(v_photo.waiters) = 0 then v_now end
   where p.id = job;
  if cardinality(v_photo.waiters) = 0 then
    return query
      update makeready.media_objects m set expires_at = least(m.expires_at, v_now) where m.job_id = job and m.kind in ('payload', 'prepared')
      returning makeready.media_facts(m.store, m.path, m.mime, m.size_bytes, m.sha256);
  end if;
end
$$;
comment on function makeready.ingest_answered(uuid, integer, uuid) is
  'A request for a photo has its answer (499: its client had gone): returns the files to be deleted now, unless another request waits; then call media_forget. waiting: which process. A photo that nobody waits for any more is cancelled. Does not wait for the disk, unless is_durable.';

create or replace function makeready.media_forget(store_name text, paths text[])
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_now   timestamptz := makeready.now();
  v_count integer;
begin
  perform makeready.ingest_async();
  delete from makeready.media_objects m where m.store = store_name and m.path = any (paths) and m.expires_at <= v_now;
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
comment on function makeready.media_forget(text, text[]) is 'Files of which ingest_answered said so, or that are past their time, are deleted: their rows go too. How many.';

create or replace function makeready.ingest_has_abandoned(moment timestamptz)
  returns boolean
  language sql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
as $$
  select exists (select from makeready.ingest_open(moment) o join makeready.photos p on p.id = o.job
                  where not makeready.ingest_is_awaited(p.waiters, moment))
$$;
comment on function makeready.ingest_has_abandoned(timestamptz) is 'Whether there is an open photo for which no living process waits. Internal: tick asks.';

create or replace function makeready.ingest_abandoned(max_rows integer)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set lock_timeout = '100ms'
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_now   timestamptz := makeready.now();
  v_id    uuid;
  v_job   makeready.jobs;
  v_count integer := 0;
begin
  for v_id in
    select o.job from makeready.ingest_open(v_now) o join makeready.photos p on p.id = o.job
     where not makeready.ingest_is_awaited(p.waiters, v_now) limit max_rows
  loop
    select * into v_job from makeready.jobs j where j.queue = 'ingest' and j.id = v_id and j.finished_at is null for no key update skip locked;
    -- Again under the lock: another process may have joined meanwhile.
    if found and exists (select from makeready.photos p where p.id = v_id and not makeready.ingest_is_awaited(p.waiters, v_now)) then
      perform makeready.ingest_close(v_job, 'timeout', 'the process whose client waited is gone', v_now);
      v_count := v_count + 1;
    end if;
  end loop;
  return v_count;
end
$$;
comment on function makeready.ingest_abandoned(integer) is
  'Ends photos for which no living process waits, as timeouts: within about 3 s of a kill. What a process had claimed itself is reaped with it.';
select makeready.chore_create('ingest_abandoned', '1 second');

create or replace function makeready.ingest_why(job uuid, of_job makeready.jobs)
  returns table (reason text, detail text, fix text)
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select coalesce(p.failure_reason, 'done'),
         case when p.failure_reason is null then format('processed by %s in %s s', coalesce(p.done_by, p.provider_id), round(extract(epoch from p.finished_at - p.started_at), 1))
              else format('ended %s, %s: %s', p.finished_at,
                          coalesce('after ' || round(extract(epoch from p.finished_at - p.started_at), 1) || ' s with a worker', 'before a worker took it'),
                          coalesce(p.failure ->> 'message', 'no reason was given')) end,
         case when p.failure_reason is null then 'Nothing to do.'
              else 'A photo is never processed again: the booth has its answer. select * from makeready.processing_logs where job_id = '
                   || quote_literal(p.id) || ' tells more.' end
    from makeready.photos p where p.id = ingest_why.job and p.finished_at is not null
   union all
  select 'nobody_waits', 'every process whose client waits for it is gone', 'It ends as a timeout within a few seconds.'
    from makeready.photos p
   where p.id = ingest_why.job and p.finished_at is null and (of_job).state = 'queued' and not makeready.ingest_is_awaited(p.waiters, makeready.now())
$$;
comment on function makeready.ingest_why(uuid, makeready.jobs) is 'What why says of a photo that has ended, whose job may be pruned, or that nobody waits for; no row: it is as any job. Internal.';

create or replace view makeready.ingest_job_view as
  select p.id, p.slot_id, case when p.started_at is not null or j.state = 'running' then 'processing' else 'pending' end as status,
         p.finished_at is not null as is_finalized, p.failure_reason, p.expires_at, p.created_at,
         greatest(p.created_at, j.started_at, p.finished_at, p.answered_at) as updated_at, p.finished_at as finalized_at,
         (select m.path from makeready.media_objects m where m.job_id = p.id and m.kind = 'payload' limit 1) as payload_path,
         p.provider_reference as provider_job_reference, p.result_path as result_file_path, null::text as result_inline_base64,
         p.result_mime as result_mime_type, p.result_size_bytes, encode(p.result_sha256, 'hex') as result_checksum, p.result_expires_at
    from makeready.photos p
    left join makeready.jobs j on j.queue = 'ingest' and j.id = p.id and p.finished_at is null;
comment on view makeready.ingest_job_view is
  'Photos as the first system had them, for queries that were written for it. result_inline_base64 is always null: the answer is streamed from the file of the result.';

create or replace view makeready.photo_overview as
  select p.id as photo, p.slot_id, p.provider_id, j.state, makeready.now() - p.created_at as since, p.expires_at - makeready.now() as time_left,
         cardinality(p.waiters) as requests, makeready.ingest_is_awaited(p.waiters, makeready.now()) as is_awaited, w.instance as worker,
         null::text as message
    from makeready.jobs j
    join makeready.photos p on p.id = j.id
    left join makeready.workers w on w.id = j.worker_id and j.state = 'running'
   where j.queue = 'ingest' and j.state in ('waiting', 'queued', 'running')
   union all
  (select l.job_id, l.slot_id, l.provider_id, l.failure_reason, makeready.now() - l.occurred_at, null, null, null, null, l.message
     from (select e.* from makeready.processing_logs e where e.status in ('succeeded', 'failed', 'timeout') order by e.occurred_at desc limit 200) l
    where l.failure_reason is not null order by l.occurred_at desc limit 20);
comment on view makeready.photo_overview is
  'Photos that are open, and the latest of the last 200 that failed: how long since they came or ended, how long they have, who waits, who works.';

grant execute on function makeready.ingest_is_awaited(uuid[], timestamptz) to makeready_ops, makeready_read;
grant execute on function makeready.ingest_end(uuid, text), makeready.ingest_answered(uuid, integer, uuid), makeready.media_forget(text, text[])
  to makeready_http;
grant execute on function makeready.ingest_end(uuid, text), makeready.media_forget(text, text[]) to makeready_worker, makeready_ops;
