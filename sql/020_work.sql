-- What a worker calls: register, claim, beat, report, finish, fail; and reap, which takes back what a lost worker held.
--
-- Where a lease is compared, the state is not: the constraint jobs_lease_iff_running makes it redundant, and naming it
-- would let the planner walk the index of running jobs, dead entries and all, instead of the primary key.
--
-- Claim demands a live worker; finish, fail, report and beat demand the lease and nothing else, so that a draining
-- worker, and one that comes back after an outage, keep the work that nobody took from them.
-- No call here takes more than one job's row lock in an order that another could reverse: claims and reaps skip locked
-- rows, the rest lock the one row they are about.

create table if not exists makeready.workers (
  id            uuid        not null constraint workers_pk primary key,
  instance      text        not null constraint workers_instance_is_unique unique,
  host          text        not null,
  pid           integer     not null,
  tasks         integer     not null,
  queues        text[]      not null,
  version       text        not null,
  stale_after   interval    not null,
  locks_session boolean     not null,
  started_at    timestamptz not null,
  beat_at       timestamptz not null,
  draining_at   timestamptz
) with (fillfactor = 50);
comment on table makeready.workers is 'Processes that claim. One heartbeat a process and second, a HOT update, instead of one a job.';
comment on column makeready.workers.id is 'Made anew by each process.';
comment on column makeready.workers.instance is 'Stable name of the place: a restarted process takes over from its predecessor at once.';
comment on column makeready.workers.host is 'Host name, matched with jobs.host.';
comment on column makeready.workers.pid is 'Process id on that host.';
comment on column makeready.workers.tasks is 'Jobs it runs at a time.';
comment on column makeready.workers.queues is 'Queues it claims from.';
comment on column makeready.workers.version is 'Version of the code.';
comment on column makeready.workers.stale_after is 'Without a beat for so long it counts as lost.';
comment on column makeready.workers.locks_session is 'Whether its listening session holds the lock session_key(id).';
comment on column makeready.workers.started_at is 'When it registered.';
comment on column makeready.workers.beat_at is 'Last heartbeat.';
comment on column makeready.workers.draining_at is 'Since when it claims no more.';

create table if not exists makeready.reaper (
  only_row     boolean     not null default true constraint reaper_pk primary key constraint reaper_has_one_row check (only_row),
  ran_at       timestamptz not null,
  trusts_after timestamptz not null
) with (fillfactor = 10);
comment on table makeready.reaper is 'When reap last ran. After a gap (the database was away) no heartbeat is trusted for a while: healthy work must not die of an outage.';
comment on column makeready.reaper.only_row is 'One row.';
comment on column makeready.reaper.ran_at is 'Last run, by any process.';
comment on column makeready.reaper.trusts_after is 'Until then an old heartbeat proves nothing.';
insert into makeready.reaper (ran_at, trusts_after) values (makeready.now(), makeready.now()) on conflict do nothing;

create or replace function makeready.session_key(worker uuid)
  returns bigint language sql immutable security definer set search_path = ''
as $$ select hashtextextended('makeready worker ' || worker, 0) $$;
comment on function makeready.session_key(uuid) is
  'Key of the advisory lock that a worker''s listening session holds while the process lives. A hint: the lease is the truth.';

create or replace function makeready.session_is_open(worker uuid)
  returns boolean
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  -- Read, not tried: trying the lock could make its owner fail to take it.
  select exists (select from pg_catalog.pg_locks l
                  where l.locktype = 'advisory' and l.granted and l.objsubid = 1
                    and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
                    and ((l.classid::bigint << 32) | l.objid::bigint) = makeready.session_key(worker))
$$;
comment on function makeready.session_is_open(uuid) is 'Whether a worker''s listening session is there: Postgres frees its lock the moment the process is killed.';

create or replace function makeready.worker_is_lost(w makeready.workers, moment timestamptz)
  returns boolean
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select w.beat_at < moment - w.stale_after
      or (w.locks_session and w.beat_at < moment - interval '1.8 seconds' and not makeready.session_is_open(w.id))
$$;
comment on function makeready.worker_is_lost(makeready.workers, timestamptz) is
  'No beat for stale_after, or its session is gone and a beat (one a second) was missed.';

create or replace function makeready.worker_register(worker uuid, instance_name text, host_name text, process_id integer,
    task_count integer, queue_names text[], code_version text, stale_time interval default '10 seconds', has_session boolean default true)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_old makeready.workers;
  v_now timestamptz := makeready.now();
begin
  -- Of two processes with one name the second waits here for the first to commit, and then finds it alive.
  insert into makeready.workers (id, instance, host, pid, tasks, queues, version, stale_after, locks_session, started_at, beat_at)
  values (worker, instance_name, host_name, process_id, task_count, queue_names, code_version, stale_time, has_session, v_now, v_now)
  on conflict do nothing;
  if found then
    return 0;
  end if;
  v_now := makeready.now();
  -- Again by the same process, after an outage: it stays what it was, draining included.
  update makeready.workers w
     set host = host_name, pid = process_id, tasks = task_count, queues = queue_names, version = code_version,
         stale_after = stale_time, locks_session = has_session, beat_at = v_now
   where w.id = worker and w.instance = instance_name;
  if found then
    return 0;
  end if;
  select * into v_old from makeready.workers w where w.instance = instance_name for update;
  if not found then                                  -- the incumbent left this moment
    raise exception 'worker % is changing hands', instance_name using errcode = '40001', hint = 'Register again.';
  end if;
  v_now := makeready.now();
  if (case when v_old.locks_session then makeready.session_is_open(v_old.id)
                                  else v_old.beat_at >= v_now - v_old.stale_after end) then
    raise exception 'worker % is running already as process % on %', instance_name, v_old.pid, v_old.host
      using errcode = 'MR409', detail = json_build_object('instance', instance_name, 'host', v_old.host, 'pid', v_old.pid),
            hint = 'Give each process an instance name of its own, or stop the other one.';
  end if;
  delete from makeready.workers w where w.instance = instance_name;
  insert into makeready.workers (id, instance, host, pid, tasks, queues, version, stale_after, locks_session, started_at, beat_at)
  values (worker, instance_name, host_name, process_id, task_count, queue_names, code_version, stale_time, has_session, v_now, v_now);
  return makeready.reap(1000, false);      -- the predecessor's jobs have no worker now
end
$$;
comment on function makeready.worker_register(uuid, text, text, integer, integer, text[], text, interval, boolean) is
  'Enters a process, or takes over from a dead one of the same instance name and reaps its jobs (returns how many). MR409 while the incumbent lives. Take the session lock first.';

create or replace function makeready.worker_drain(worker uuid)
  returns void language sql volatile security definer set search_path = ''
as $$ update makeready.workers w set draining_at = coalesce(w.draining_at, makeready.now()) where w.id = worker $$;
comment on function makeready.worker_drain(uuid) is 'This worker claims no more; it keeps and finishes what it has.';

create or replace function makeready.worker_leave(worker uuid)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  delete from makeready.workers w where w.id = worker;
  return makeready.reap(1000, false);      -- whatever it still held is free at once
end
$$;
comment on function makeready.worker_leave(uuid) is 'Strikes a stopping process off the list; jobs it still held are taken back now. Returns how many.';

create or replace function makeready.claim(queue_names text[], worker uuid, max_jobs integer default 1)
  returns setof makeready.jobs
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set plan_cache_mode = force_generic_plan   -- planning anew costs more than claiming
  set enable_seqscan = off
as $$
declare
  v_host  text;
  v_queue record;
  v_gated boolean := false;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    perform makeready.refuse_unless_read_committed('claim');
  end if;
  select w.host into v_host from makeready.workers w
   where w.id = worker and w.draining_at is null and w.beat_at >= makeready.now() - w.stale_after;
  if not found then
    perform makeready.refuse_worker(worker);
  end if;
  -- An idle poll ends here: no lock, no transaction id, no WAL.
  for v_queue in
    select q.queue, q.is_gated, q.attempt_limit
      from unnest(queue_names) with ordinality n (queue, place) join makeready.queues q on q.queue = n.queue
     where q.paused_at is null
       -- A scalar subquery with a LIMIT: as `exists` it would become a hash of all queued rows.
       and (not q.is_gated or (select true from makeready.jobs j where j.queue = q.queue and j.state = 'queued' limit 1))
     order by n.place
  loop
    if v_queue.is_gated then
      -- The second gate of one call is only tried: two callers with their queues in another order would wait in a circle.
      if v_gated then
        perform 1 from makeready.gates g where g.queue = v_queue.queue and g.kind = 'claim' for no key update skip locked;
        continue when not found;
      else
        perform 1 from makeready.gates g where g.queue = v_queue.queue and g.kind = 'claim' for no key update;
        v_gated := true;
      end if;
      return query select * from makeready.claim_seats(v_queue.queue, worker, v_host, max_jobs);
    else
      return query select * from makeready.claim_freely(v_queue.queue, worker, v_host, max_jobs, v_queue.attempt_limit);
    end if;
    exit when found;
  end loop;
end
$$;
comment on function makeready.claim(text[], uuid, integer) is
  'Takes up to max_jobs due jobs for a worker from the first of its queues that yields any, and returns them running, each with a new lease. A transaction of its own: it does not wait for the disk, since a claim lost in a crash only repeats work. MR002: register first. MR010: not under a frozen snapshot.';

create or replace function makeready.refuse_worker(worker uuid)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_worker makeready.workers;
  v_reason text;
begin
  select * into v_worker from makeready.workers w where w.id = worker;
  v_reason := case when v_worker.id is null then 'unknown' when v_worker.draining_at is not null then 'draining' else 'stale' end;
  raise exception 'worker % may not claim: it is %', worker, v_reason
    using errcode = 'MR002', detail = json_build_object('worker', worker, 'reason', v_reason),
          hint = case v_reason when 'draining' then 'It was told to stop.' else 'Register again, then beat.' end;
end
$$;
comment on function makeready.refuse_worker(uuid) is 'Raises MR002 and says whether the worker is unknown, stale or draining.';

create or replace function makeready.claim_freely(queue_name text, worker uuid, host_name text, max_jobs integer, time_limit interval)
  returns setof makeready.jobs
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off                   -- a handful of rows by their keys in index order, whatever stale statistics say
  set enable_bitmapscan = off
  set enable_sort = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_now timestamptz := makeready.now();
begin
  perform set_config('synchronous_commit', 'off', true);
  return query
  with pick as materialized (      -- materialized: a plan that runs LIMIT twice would take too many
    select c.id
      from makeready.lanes l
     cross join (values (''), (nullif(host_name, ''))) h (host)
     cross join lateral (select j.id, j.priority, j.turn, j.run_at
                           from makeready.jobs j
                          where j.queue = queue_name and j.state = 'queued' and j.lane = l.lane and j.host = h.host
                            and (j.deadline_at is null or j.deadline_at > v_now)
                          order by j.priority, j.turn, j.run_at, j.id
                          limit max_jobs
                            for update skip locked) c
     where l.queue = queue_name
     order by c.priority, c.turn, c.run_at, c.id
     limit max_jobs
  )
  update makeready.jobs j
     set state = 'running', lease = gen_random_uuid(), attempt = j.attempt + 1, worker_id = worker,
         started_at = v_now, run_until = least(v_now + time_limit, j.deadline_at)
    from pick p
   where j.queue = queue_name and j.id = p.id
  returning j.*;
end
$$;
comment on function makeready.claim_freely(text, uuid, text, integer, interval) is 'The claim of a queue without any limit. Internal.';

create or replace function makeready.claim_seats(queue_name text, worker uuid, host_name text, max_jobs integer)
  returns setof makeready.jobs
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off
  set enable_bitmapscan = off
  set enable_sort = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_now    timestamptz := makeready.now();     -- after the gate was granted
  v_policy makeready.queues;
  v_busy   integer[];
  v_room   integer;
  v_seats  integer[];
  v_lanes  text[];
  v_rooms  integer[];
begin
  -- Each statement from here sees what was committed before the gate was granted: nobody else can start a job now,
  -- and those that end meanwhile only make the count too high.
  select * into v_policy from makeready.queues q where q.queue = queue_name;
  if v_policy.paused_at is not null then
    return;
  end if;
  -- A job that was claimed before the queue had a limit has no seat, and counts all the same.
  select array_agg(coalesce(j.seat, 0)) into v_busy from makeready.jobs j where j.queue = queue_name and j.state = 'running';
  v_room := least(max_jobs, v_policy.max_in_flight - coalesce(cardinality(v_busy), 0));
  if v_room <= 0 then
    return;
  end if;
  -- Lanes with room. A full one is left out: its rows at the head of the line are never read.
  select array_agg(r.lane), array_agg(r.room) into v_lanes, v_rooms
    from (select l.lane, case when l.max_in_flight is null then v_room
                              else least(v_room, l.max_in_flight - (select count(*) from makeready.jobs j
                                     where j.queue = queue_name and j.state = 'running' and j.lane = l.lane)) end as room
            from makeready.lanes l where l.queue = queue_name) r
   where r.room > 0;
  select array_agg(f.seat) into v_seats
    from (select s.seat from generate_series(1, v_policy.max_in_flight) s (seat)
           where v_busy is null or s.seat <> all (v_busy) limit v_room) f;
  perform set_config('synchronous_commit', 'off', true);
  return query
  with pick as materialized (      -- materialized: a plan that runs LIMIT twice would take too many
    select c.id, c.priority, c.turn, c.run_at
      from unnest(v_lanes, v_rooms) r (lane, room)
     cross join lateral (select d.id, d.priority, d.turn, d.run_at       -- both host lists of a lane together: at most its room
                           from (values (''), (nullif(host_name, ''))) h (host)
                          cross join lateral (select j.id, j.priority, j.turn, j.run_at
                                                from makeready.jobs j
                                               where j.queue = queue_name and j.state = 'queued' and j.lane = r.lane and j.host = h.host
                                                 and (j.deadline_at is null or j.deadline_at > v_now)
                                               order by j.priority, j.turn, j.run_at, j.id
                                               limit r.room
                                                 for update skip locked) d
                          order by d.priority, d.turn, d.run_at, d.id limit r.room) c
     order by c.priority, c.turn, c.run_at, c.id
     limit v_room
  )
  update makeready.jobs j
     set state = 'running', seat = v_seats[p.place], lease = gen_random_uuid(), attempt = j.attempt + 1, worker_id = worker,
         started_at = v_now, run_until = least(v_now + v_policy.attempt_limit, j.deadline_at)
    from (select k.id, row_number() over () as place from pick k) p
   where j.queue = queue_name and j.id = p.id
  returning j.*;
end
$$;
comment on function makeready.claim_seats(text, uuid, text, integer) is
  'The claim of a queue with a limit, of its own or of a lane: exact, behind the gate that claim has locked. Internal.';

create or replace function makeready.refuse_lost(queue_name text, job uuid)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
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
  set enable_seqscan = off
  set enable_hashjoin = off
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
      -- In order of id, for nested loops keep it: two calls with the same jobs wait for each other, not in a circle.
      from (select a.* from unnest(job_ids, tokens, outcomes) a (id, lease, outcome) order by a.id) g
     where j.queue = queue_name and j.id = g.id and j.lease = g.lease
       and (j.deadline_at is null or j.deadline_at > makeready.now())
    returning j.id
  )
  select array_agg(e.id) into v_ok from ended e;
  if cardinality(v_ok) = cardinality(job_ids) then
    return query select g.id, 'ok' from unnest(job_ids) g (id);
  else
    return query
      select g.id, case when g.id = any (v_ok) then 'ok' when j.state = 'done' and j.final_lease = g.lease then 'repeat' else 'lost' end
        from unnest(job_ids, tokens) with ordinality g (id, lease, place)
        left join makeready.jobs j on j.queue = queue_name and j.id = g.id
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
    problem := jsonb_build_object('code', problem ->> 'code', 'message', left(problem ->> 'message', 2000), 'cut', true);
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

create or replace function makeready.worker_strays(worker uuid, known uuid[])
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_row   record;
  v_count integer := 0;
begin
  -- A claim was committed and its answer lost: the worker lives and beats, so nobody else would ever take these jobs.
  for v_row in
    select j.queue, j.id, j.lease from makeready.jobs j
     where j.state = 'running' and j.worker_id = worker and j.lease <> all (known)
       for no key update skip locked
  loop
    perform makeready.fail(v_row.queue, v_row.id, v_row.lease, 'interrupted',
                           '{"code": "claim_lost", "message": "the worker never got the answer to its claim"}');
    perform makeready.wake(v_row.queue);
    v_count := v_count + 1;
  end loop;
  return v_count;
end
$$;
comment on function makeready.worker_strays(uuid, uuid[]) is
  'Gives back running jobs of a worker under leases that it does not know: the answer to their claim was lost. known: the leases it does know. Only while no claim of that worker is under way. Returns how many.';

create or replace function makeready.report(queue_name text, job uuid, token uuid, facts jsonb)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
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

create or replace function makeready.beat(worker uuid, queue_names text[], job_ids uuid[], tokens uuid[])
  returns table (job_id uuid, verdict text)
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set plan_cache_mode = force_generic_plan
as $$
begin
  update makeready.workers w set beat_at = makeready.now() where w.id = worker;
  if not found then
    raise exception 'worker % is not registered', worker
      using errcode = 'MR002', detail = json_build_object('worker', worker),
            hint = 'Register again and beat again: leases that nobody took are still good.';
  end if;
  return query
    select h.id, case when j.id is null then 'lost' else 'cancel' end
      from unnest(queue_names, job_ids, tokens) h (queue, id, lease)
      left join makeready.jobs j on j.queue = h.queue and j.id = h.id and j.lease = h.lease
     where j.id is null or j.cancel_at is not null;
end
$$;
comment on function makeready.beat(uuid, text[], uuid[], uuid[]) is
  'Heartbeat of a process, once a second, with the leases it holds; answers only bad news: lost (drop it) or cancel (stop it). MR002: register again.';

create or replace function makeready.reap(max_jobs integer default 1000, by_heartbeat boolean default true)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_now   timestamptz := makeready.now();
  v_lost  uuid[];
  v_count integer := 0;
  v_row   record;
begin
  -- Suspects first: nearly always none, and then no job is read beyond the running ones.
  if by_heartbeat then
    select array_agg(w.id) into v_lost from makeready.workers w where makeready.worker_is_lost(w, v_now);
  end if;
  for v_row in
    with gone as materialized (
      select j.queue, j.id, j.attempt, j.lost, j.worker_id, j.started_at, j.run_until, j.cancel_at, j.deadline_at
        from makeready.jobs j
       where j.state = 'running'
         and ((by_heartbeat and j.run_until < v_now) or j.worker_id = any (v_lost)
              or not exists (select from makeready.workers w where w.id = j.worker_id))
       order by j.queue, j.id limit max_jobs for update of j skip locked
    ), fate as materialized (
      select g.*,
             case when g.cancel_at is not null  then 'cancelled'
                  when g.deadline_at <= v_now   then 'expired'
                  when g.lost + 1 >= q.max_lost then 'dead'
                  else 'queued' end as next_state,
             jsonb_build_object('code', 'lease_lost', 'message',
               case when g.run_until < v_now then 'the attempt ran too long' else 'the worker is gone' end,
               'worker', g.worker_id, 'lost', g.lost + 1) as problem
        from gone g join makeready.queues q on q.queue = g.queue
    ), noted as (
      insert into makeready.attempts (queue, job_id, attempt, outcome, error, worker_id, started_at, ended_at)
      select f.queue, f.id, f.attempt, 'lost', f.problem, f.worker_id, f.started_at, v_now from fate f
    )
    update makeready.jobs j
       set state = f.next_state, lost = j.lost + 1, attempt = j.attempt - 1, error = f.problem,
           lease = null, seat = null, run_until = null, run_at = v_now,
           finished_at = case when f.next_state <> 'queued' then v_now end
      from fate f
     where j.queue = f.queue and j.id = f.id
    returning j.queue, j.id, j.state
  loop
    v_count := v_count + 1;
    if v_row.state = 'queued' then
      perform makeready.wake(v_row.queue);
    else
      perform makeready.announce(v_row.queue, array[v_row.id]);
    end if;
  end loop;
  return v_count;
end
$$;
comment on function makeready.reap(integer, boolean) is
  'Takes back jobs whose worker is lost or whose attempt ran too long: the attempt is given back and counted as lost, max_lost losses are dead. by_heartbeat false: only jobs whose worker is not registered at all. Returns how many.';
