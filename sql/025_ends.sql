-- Ends of an attempt: finish, fail, and report of progress on the way.
--
-- Where a lease is compared, the state is not: the constraint jobs_lease_iff_running makes it redundant, and naming it
-- would let the planner walk the index of running jobs, dead entries and all, instead of the primary key.
-- Each call locks the one row it is about; claims and reaps skip locked rows. So no two calls can wait in a circle.

create or replace function makeready.refuse_lost(queue_name text, job uuid)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_job makeready.jobs;
begin
  select * into v_job from makeready.jobs j where j.queue = queue_name and j.id = job;
  raise exception 'the lease on job % is lost: it is %', job,
        case when v_job.state = 'running' and v_job.deadline_at <= makeready.now() then 'past its deadline'
             when v_job.state = 'running' then 'running under another lease' else coalesce(v_job.state, 'gone') end
    using errcode = 'MR001', detail = json_build_object('queue', queue_name, 'job', job, 'state', v_job.state),
          hint = 'Drop the work; whatever was stored under this lease is not referred to and will be purged.';
end
$$;
comment on function makeready.refuse_lost(text, uuid) is 'Raises MR001 and says what became of the job.';

create or replace function makeready.finish(queue_name text, job uuid, token uuid, outcome jsonb default null)
  returns text
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
begin
  if pg_column_size(outcome) > 65536 then
    perform makeready.refuse_size(queue_name, 'outcome', pg_column_size(outcome), 65536);
  end if;
  -- The clock is read in the statement: if it waits for the row, the deadline is compared again after the wait.
  update makeready.jobs j
     set state = 'done', result = outcome, error = null, finished_at = makeready.now(), final_lease = token,
         lease = null, seat = null, run_until = null
   where j.queue = queue_name and j.id = job and j.lease = token
     and (j.deadline_at is null or j.deadline_at > makeready.now());
  if found then
    return 'ok';
  end if;
  if exists (select from makeready.jobs j where j.queue = queue_name and j.id = job and j.state = 'done' and j.final_lease = token) then
    return 'repeat';                             -- this very lease finished it; the answer to its COMMIT was lost
  end if;
  perform makeready.refuse_lost(queue_name, job);
end
$$;
comment on function makeready.finish(text, uuid, uuid, jsonb) is
  'Ends a job as done: ok, or repeat when this lease has done so before. MR001 when the lease is lost or the deadline has passed. A queue''s own finish calls it first and writes its rows in the same transaction.';

create or replace function makeready.finish_many(queue_name text, job_ids uuid[], tokens uuid[], outcomes jsonb[] default null)
  returns table (job_id uuid, verdict text)
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set plan_cache_mode = force_generic_plan
  set jit = off
  set enable_seqscan = off
  set enable_nestloop = off                  -- a hash join over the ids' own rows: it reads each once, whatever the statistics say
  set enable_mergejoin = off
as $$
declare
  v_now timestamptz;
  v_ok  uuid[];
begin
  perform makeready.refuse_size(queue_name, 'outcome', pg_column_size(o.outcome), 65536) from unnest(outcomes) o (outcome)
    where pg_column_size(o.outcome) > 65536;
  v_now := makeready.now();
  with ended as (
    update makeready.jobs j
       set state = 'done', result = g.outcome, error = null, finished_at = v_now, final_lease = g.lease,
           lease = null, seat = null, run_until = null
      -- In order of id on either side of the join: two calls with the same jobs wait for each other, not in a circle.
      from (select a.* from unnest(job_ids, tokens, outcomes) a (id, lease, outcome) order by a.id) g
     where j.queue = queue_name and j.id = any (job_ids) and j.id = g.id and j.lease = g.lease
       and (j.deadline_at is null or j.deadline_at > makeready.now())
    returning j.id
  )
  select array_agg(e.id) into v_ok from ended e;
  if cardinality(v_ok) = cardinality(job_ids) then
    return query select g.id, 'ok' from unnest(job_ids) g (id);
  else
    return query      -- a job may be in the call twice, under its lease and under a former one
      select g.id, case when j.state = 'done' and j.final_lease = g.lease then case when g.id = any (v_ok) then 'ok' else 'repeat' end
                        else 'lost' end
        from unnest(job_ids, tokens) with ordinality g (id, lease, place)
        left join makeready.jobs j on j.queue = queue_name and j.id = any (job_ids) and j.id = g.id
       order by g.place;
  end if;
end
$$;
comment on function makeready.finish_many(text, uuid[], uuid[], jsonb[]) is
  'finish for many jobs in one call; a lost lease is a verdict, not an error: ok, repeat or lost for each.';

create or replace function makeready.finish_and_claim(queue_name text, job uuid, token uuid, outcome jsonb, worker uuid, max_jobs integer default 1)
  returns setof makeready.jobs
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_host   text;
  v_policy makeready.queues := makeready.queue_policy(queue_name);
  v_sync   text := current_setting('synchronous_commit');
begin
  if v_policy.is_gated then
    raise exception 'queue % has a limit: finish and claim must be two transactions', queue_name
      using errcode = 'MR409', detail = json_build_object('queue', queue_name),
            hint = 'The claim gate may not be held while a commit waits for the disk. Call finish, then claim.';
  end if;
  perform makeready.finish(queue_name, job, token, outcome);
  select w.host into v_host from makeready.workers w
   where w.id = worker and w.draining_at is null and w.beat_at >= makeready.now() - w.stale_after;
  if found and v_policy.paused_at is null then
    return query select * from makeready.claim_freely(queue_name, worker, v_host, max_jobs, v_policy.attempt_limit);
    -- The finish counts: this commit waits for the disk, whatever the claim has set.
    perform set_config('synchronous_commit', v_sync, true);
  end if;
end
$$;
comment on function makeready.finish_and_claim(text, uuid, uuid, jsonb, uuid, integer) is
  'finish, and the next jobs in the same round trip; only for queues without a limit (else MR409). A draining worker gets none. MR001 as finish.';

create or replace function makeready.backoff(attempt_count integer, policy makeready.queues)
  returns interval
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  -- In seconds up to the cap, and the exponent stops at 16: ten to the power of 16 seconds is more than an interval holds.
  select make_interval(secs => least(extract(epoch from policy.retry_cap)::float8,
                                     extract(epoch from policy.retry_base)::float8
                                       * power(policy.retry_factor, least(greatest(attempt_count, 1) - 1, 16)))
                               * (1 - policy.retry_jitter * random()))
$$;
comment on function makeready.backoff(integer, makeready.queues) is
  'Pause before the next attempt: base times factor to the power of attempt - 1, at most the cap, shortened by up to the jitter.';

create or replace function makeready.fail(queue_name text, job uuid, token uuid, manner text, problem jsonb, retry_after interval default null)
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
  v_job    makeready.jobs;
  v_policy makeready.queues;
  v_now    timestamptz;
  v_next   timestamptz;
  v_to     text;
  v_back   boolean := manner in ('snooze', 'interrupted');       -- not the job's fault: the attempt is given back
begin
  if pg_column_size(problem) > 65536 then            -- a job must be able to fail, whatever it says
    problem := jsonb_build_object('code', left(problem ->> 'code', 200), 'message', left(problem ->> 'message', 2000), 'cut', true);
  end if;
  if manner not in ('retry', 'fatal', 'snooze', 'interrupted', 'cancelled') then
    raise exception 'a job cannot fail by %', quote_literal(manner) using errcode = 'MR422',
          detail = json_build_object('queue', queue_name, 'job', job), hint = 'retry, fatal, snooze, interrupted or cancelled.';
  end if;
  select * into v_job from makeready.jobs j
   where j.queue = queue_name and j.id = job and j.lease = token for no key update;
  if not found then
    select j.state into v_to from makeready.jobs j where j.queue = queue_name and j.id = job and j.final_lease = token;
    if found then
      return v_to;
    end if;
    perform makeready.refuse_lost(queue_name, job);
  end if;
  select * into v_policy from makeready.queues q where q.queue = queue_name;
  v_now  := makeready.now();
  v_next := v_now + case manner when 'interrupted' then interval '0'
                                when 'snooze'      then coalesce(retry_after, v_policy.retry_base)
                                else greatest(coalesce(retry_after, interval '0'), makeready.backoff(v_job.attempt, v_policy)) end;
  v_to := case when v_job.cancel_at is not null or manner = 'cancelled'                                 then 'cancelled'
               when v_job.deadline_at <= v_now                                                          then 'expired'
               when manner = 'fatal'                                                                    then 'dead'
               when not v_back and v_job.attempt >= coalesce(v_job.max_attempts, v_policy.max_attempts) then 'dead'
               when v_next >= v_job.deadline_at                                                         then 'expired'
               when v_next > v_now                                                                      then 'waiting'
               else 'queued' end;
  update makeready.jobs j
     set state = v_to, error = coalesce(problem, '{}'), final_lease = token, lease = null, seat = null, run_until = null,
         attempt = j.attempt - case when v_back then 1 else 0 end,
         run_at = case when v_to in ('waiting', 'queued') then v_next else j.run_at end,
         finished_at = case when v_to in ('waiting', 'queued') then null else v_now end
   where j.queue = queue_name and j.id = job;
  insert into makeready.attempts (queue, job_id, attempt, outcome, error, worker_id, started_at, ended_at)
  values (queue_name, job, v_job.attempt,
          case when v_to in ('cancelled', 'expired', 'dead') then v_to else manner end, problem, v_job.worker_id, v_job.started_at, v_now);
  return v_to;
end
$$;
comment on function makeready.fail(text, uuid, uuid, text, jsonb, interval) is
  'Ends an attempt: retry (waits, or dead when used up), fatal (dead), snooze and interrupted (attempt given back), cancelled. A retry that could not start before the deadline expires now. Returns the new state; again for a repeated call. MR001 when the lease is lost.';

create or replace function makeready.report(queue_name text, job uuid, token uuid, facts jsonb)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
begin
  if pg_column_size(facts) > 65536 then
    perform makeready.refuse_size(queue_name, 'report', pg_column_size(facts), 65536);
  end if;
  update makeready.jobs j
     set progress = facts, lost = 0, run_until = least(makeready.now() + q.attempt_limit, j.deadline_at)
    from makeready.queues q
   where q.queue = queue_name and j.queue = queue_name and j.id = job and j.lease = token
     and (j.deadline_at is null or j.deadline_at > makeready.now());
  if not found then
    perform makeready.refuse_lost(queue_name, job);
  end if;
end
$$;
comment on function makeready.report(text, uuid, uuid, jsonb) is
  'Progress of a running job: keeps the facts, gives the attempt its full time again, forgives lost leases. MR001 when the lease is lost.';
