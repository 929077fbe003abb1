-- What a caller does after enqueue: wake workers, wait for the end, cancel, give up.
--
-- No NOTIFY in a transaction that waits for the disk: it is committed under one lock for the whole database, through
-- the flush. Callers commit, then call wake; a lost wake costs one poll. `wake => true` is for those who cannot.

create or replace function makeready.wake(queue_name text)
  returns void language sql volatile security definer set search_path = ''
as $$ select pg_notify('makeready', 'wake ' || queue_name) $$;
comment on function makeready.wake(text) is 'Tells sleeping workers that a queue has something. A hint: a lost one costs one poll. Call it bare, after the commit.';

create or replace function makeready.announce(queue_name text, job_ids uuid[])
  returns void
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  -- At most 200 ids a notification: a payload must stay below 8,000 bytes.
  select pg_notify('makeready', 'end ' || queue_name || ' ' || c.ids)
    from (select string_agg(i.id::text, ' ') as ids
            from unnest(job_ids) with ordinality i (id, place) group by (i.place - 1) / 200) c
$$;
comment on function makeready.announce(text, uuid[]) is 'Tells waiting callers that jobs have ended. A hint, bare and after the commit, like wake.';

create or replace function makeready.peek(queue_name text, job_ids uuid[])
  returns table (job_id uuid, job_state text, outcome jsonb, problem jsonb)
  language sql
  stable
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
as $$
  select j.id, j.state, j.result, j.error from makeready.jobs j
   -- The states, not finished_at: that would invite the index of all that has ever ended.
   where j.queue = queue_name and j.id = any (job_ids) and j.state in ('done', 'dead', 'cancelled', 'expired')
$$;
comment on function makeready.peek(text, uuid[]) is 'Those of the jobs that have ended, and how: one read for all who wait in a process.';

create or replace function makeready.cancel(queue_name text, job uuid, because text default null)
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
  v_state text;
  v_asked timestamptz;
  v_now   timestamptz;
begin
  select j.state, j.cancel_at into v_state, v_asked from makeready.jobs j where j.queue = queue_name and j.id = job for no key update;
  if not found then
    raise exception 'there is no job % in queue %', job, queue_name
      using errcode = 'MR404', detail = json_build_object('queue', queue_name, 'job', job), hint = 'It may have been pruned.';
  end if;
  v_now := makeready.now();
  if v_state in ('waiting', 'queued') then
    update makeready.jobs j
       set state = 'cancelled', finished_at = v_now, cancel_at = v_now,
           error = jsonb_build_object('code', 'cancelled', 'message', coalesce(because, 'cancelled before it ran'))
     where j.queue = queue_name and j.id = job;
    perform makeready.announce(queue_name, array[job]);
    perform makeready.audit('cancel', queue_name || '/' || job, jsonb_build_object('state', v_state), '{"state": "cancelled"}', because);
    return 'cancelled';
  elsif v_state = 'running' then
    -- The worker stops it at its next beat; if it finishes first, the work counts.
    if v_asked is null then
      update makeready.jobs j set cancel_at = v_now where j.queue = queue_name and j.id = job;
      perform makeready.audit('cancel', queue_name || '/' || job, jsonb_build_object('state', v_state), jsonb_build_object('cancel_at', v_now), because);
    end if;
    perform pg_notify('makeready', 'cancel ' || queue_name || ' ' || job);
  end if;
  return v_state;
end
$$;
comment on function makeready.cancel(text, uuid, text) is
  'Cancels a job that has not started, asks the worker of a running one to stop; returns the state it is in now. An ended job stays as it is. Audited.';

create or replace function makeready.give_up(queue_name text, job uuid, problem jsonb default null)
  returns table (job_state text, outcome jsonb, problem_found jsonb)
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_job makeready.jobs;
  v_now timestamptz;
begin
  select * into v_job from makeready.jobs j
   where j.queue = queue_name and j.id = job and j.state in ('waiting', 'queued', 'running') for no key update;
  if found then
    v_now   := makeready.now();
    problem := coalesce(problem, '{"code": "gave_up", "message": "the caller could not wait any longer"}');
    update makeready.jobs j
       set state = 'expired', error = problem, finished_at = v_now, lease = null, seat = null, run_until = null
     where j.queue = queue_name and j.id = job;
    if v_job.state = 'running' then
      insert into makeready.attempts (queue, job_id, attempt, outcome, error, worker_id, started_at, ended_at)
      values (queue_name, job, v_job.attempt, 'expired', problem, v_job.worker_id, v_job.started_at, v_now);
    end if;
  end if;
  -- done: the answer came in the last moment, use it. expired: no later result can overwrite that.
  return query select j.state, j.result, j.error from makeready.jobs j where j.queue = queue_name and j.id = job;
end
$$;
comment on function makeready.give_up(text, uuid, jsonb) is
  'For a caller who must answer now: ends the job as expired unless it has ended already, and returns how it stands. A result that comes later is refused.';
