-- Workers: the processes that claim. They register, beat once a second, and leave; reap takes back what a lost one held.
--
-- Liveness belongs to the process, the lease to the job. Claim demands a live worker; finish, fail, report and beat
-- demand the lease and nothing else, so that a draining worker, and one that comes back after an outage, keep the work
-- that nobody took from them.

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
comment on column makeready.workers.locks_session is 'Whether its listening session held the lock session_key(id) at the last beat: only then does its absence mean anything.';
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
  if stale_time not between interval '1 second' and interval '1 day' then
    raise exception 'worker % cannot count as lost after %', instance_name, stale_time
      using errcode = 'MR422', detail = json_build_object('instance', instance_name), hint = 'One second to one day.';
  end if;
  loop                                               -- twice at most: after a predecessor is struck off, nobody else can enter before us
    -- Of two processes with one name the second waits here for the first to commit, and then finds it alive.
    insert into makeready.workers (id, instance, host, pid, tasks, queues, version, stale_after, locks_session, started_at, beat_at)
    values (worker, instance_name, host_name, process_id, task_count, queue_names, code_version, stale_time,
            has_session and makeready.session_is_open(worker), v_now, v_now)
    on conflict do nothing;
    if found then
      -- The predecessor's jobs, if there was one, have no worker now.
      return case when v_old.id is null then 0 else makeready.reap(1000, false) end;
    end if;
    v_now := makeready.now();
    -- Again by the same process, after an outage: it stays what it was, draining included.
    update makeready.workers w
       set host = host_name, pid = process_id, tasks = task_count, queues = queue_names, version = code_version,
           stale_after = stale_time, locks_session = has_session and makeready.session_is_open(worker), beat_at = v_now
     where w.id = worker and w.instance = instance_name;
    if found then
      return 0;
    end if;
    select * into v_old from makeready.workers w where w.instance = instance_name for update;
    if not found then                                -- the incumbent left this moment
      raise exception 'worker % is changing hands', instance_name using errcode = '40001', hint = 'Register again.';
    end if;
    v_now := makeready.now();
    if (case when v_old.locks_session then makeready.session_is_open(v_old.id) else v_old.beat_at >= v_now - v_old.stale_after end) then
      raise exception 'worker % is running already as process % on %', instance_name, v_old.pid, v_old.host
        using errcode = 'MR409', detail = json_build_object('instance', instance_name, 'host', v_old.host, 'pid', v_old.pid),
              hint = 'Give each process an instance name of its own, or stop the other one.';
    end if;
    delete from makeready.workers w where w.instance = instance_name;
  end loop;
end
$$;
comment on function makeready.worker_register(uuid, text, text, integer, integer, text[], text, interval, boolean) is
  'Enters a process, or takes over from a dead one of the same instance name and reaps its jobs (returns how many). MR409 while the incumbent lives. Take the session lock first.';

drop function if exists makeready.worker_drain(uuid);
create or replace function makeready.worker_drain(worker uuid, because text default null)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_worker makeready.workers;
begin
  update makeready.workers w set draining_at = makeready.now() where w.id = worker and w.draining_at is null returning * into v_worker;
  if found then
    perform makeready.audit('worker_drain', v_worker.instance, null, jsonb_build_object('draining_at', v_worker.draining_at), because);
  end if;
end
$$;
comment on function makeready.worker_drain(uuid, text) is 'This worker claims no more, finishes what it has, and stops; whoever supervises it starts it anew.';

create or replace function makeready.worker_stopping(worker uuid)
  returns void language sql volatile security definer set search_path = ''
as $$ update makeready.workers w set draining_at = coalesce(w.draining_at, makeready.now()) where w.id = worker $$;
comment on function makeready.worker_stopping(uuid) is 'A process that was told to stop claims no more. It says so itself; operators call worker_drain.';

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

create or replace function makeready.beat(worker uuid, queue_names text[], job_ids uuid[], tokens uuid[])
  returns table (job_id uuid, verdict text, token uuid)
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
begin
  update makeready.workers w set beat_at = makeready.now(), locks_session = makeready.session_is_open(worker) where w.id = worker;
  if not found then
    raise exception 'worker % is not registered', worker
      using errcode = 'MR002', detail = json_build_object('worker', worker),
            hint = 'Register again and beat again: leases that nobody took are still good.';
  end if;
  return query
    select h.id, case when j.id is null then 'lost' else 'cancel' end, h.lease      -- a worker may hold two leases of one job
      from unnest(queue_names, job_ids, tokens) h (queue, id, lease)
      left join lateral (select k.id, k.cancel_at from makeready.jobs k       -- offset 0: one probe by key for each lease held
                          where k.queue = h.queue and k.id = h.id and k.lease = h.lease offset 0) j on true
     where j.id is null or j.cancel_at is not null;
end
$$;
comment on function makeready.beat(uuid, text[], uuid[], uuid[]) is
  'Heartbeat of a process, once a second, with the leases it holds; answers only bad news: lost (drop it) or cancel (stop it). MR002: register again.';

create or replace function makeready.reap_one(queue_name text, job uuid, attempt_number integer, worker uuid, claimed_at timestamptz,
    next_state text, problem jsonb, moment timestamptz)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set plan_cache_mode = force_generic_plan
as $$
begin
  update makeready.jobs j
     set state = next_state, lost = j.lost + 1, attempt = j.attempt - 1, error = problem,
         lease = null, seat = null, run_until = null, run_at = moment,
         finished_at = case when next_state <> 'queued' then moment end
   where j.queue = queue_name and j.id = job;
  insert into makeready.attempts (queue, job_id, attempt, outcome, error, worker_id, started_at, ended_at)
  values (queue_name, job, attempt_number, 'lost', problem, worker, claimed_at, moment);
  if next_state = 'queued' then
    perform makeready.wake(queue_name);
  else
    perform makeready.announce(queue_name, array[job]);
  end if;
end
$$;
comment on function makeready.reap_one(text, uuid, integer, uuid, timestamptz, text, jsonb, timestamptz) is
  'Takes one job back whose row reap has locked. Internal.';

create or replace function makeready.reap(max_jobs integer default 1000, by_heartbeat boolean default true, seen_since timestamptz default '-infinity')
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
  set lock_timeout = '100ms'
as $$
declare
  v_now     timestamptz := makeready.now();
  v_lost    uuid[];
  v_count   integer := 0;
  v_blocked integer := 0;
  v_job     record;
begin
  -- Suspects first: nearly always none, and then no job is read beyond the running ones.
  if by_heartbeat then
    -- A session that is gone says nothing of a worker whose last beat is older than a session we had to open anew: the
    -- same outage, however short, may have cut both. Until its next beat only its silence counts.
    select array_agg(w.id) into v_lost from makeready.workers w
     where makeready.worker_is_lost(w, v_now) and (w.beat_at >= seen_since or w.beat_at < v_now - w.stale_after);
  end if;
  for v_job in
    select g.*
      from (select j.queue, j.id, j.attempt, j.lost, j.worker_id, j.started_at, j.run_until, j.cancel_at, j.deadline_at, q.max_lost
              from makeready.jobs j join makeready.queues q on q.queue = j.queue
             where j.state = 'running'
               and ((by_heartbeat and j.run_until < v_now) or j.worker_id = any (v_lost)
                    or not exists (select from makeready.workers w where w.id = j.worker_id))
             limit max_jobs for update of j skip locked) g
     order by random()        -- else the same blocked ones would come first each time
  loop
    begin
      perform makeready.reap_one(v_job.queue, v_job.id, v_job.attempt, v_job.worker_id, v_job.started_at,
        case when v_job.cancel_at is not null          then 'cancelled'
             when v_job.deadline_at <= v_now           then 'expired'
             when v_job.lost + 1 >= v_job.max_lost     then 'dead'
             else 'queued' end,
        jsonb_build_object('code', 'lease_lost', 'message',
          case when by_heartbeat and v_job.run_until < v_now then 'the attempt ran too long' else 'the worker is gone' end,
          'worker', v_job.worker_id, 'lost', v_job.lost + 1), v_now);
      v_count := v_count + 1;
    exception when others then
      -- Somebody's open transaction holds the row of the job's domain, or the domain refuses: this job waits, the others do not.
      if sqlstate <> '55P03' then        -- not lock_not_available: the server's log says which job needs a look
        raise warning 'job % of queue % cannot be taken back: % (%)', v_job.id, v_job.queue, sqlerrm, sqlstate;
      end if;
      v_blocked := v_blocked + 1;
      exit when v_blocked >= 5;
    end;
  end loop;
  return v_count;
end
$$;
comment on function makeready.reap(integer, boolean, timestamptz) is
  'Takes back jobs whose worker is lost or whose attempt ran too long: the attempt is given back and counted as lost, max_lost losses are dead. by_heartbeat false: only jobs whose worker is not registered at all. seen_since: since when the caller has been connected again, if its session was cut. Returns how many.';

create or replace function makeready.worker_strays(worker uuid, known uuid[])
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
as $$
declare
  v_row   record;
  v_to    text;
  v_count integer := 0;
begin
  -- A claim was committed and its answer lost: the worker lives and beats, so nobody else would ever take these jobs.
  for v_row in
    select j.queue, j.id, j.lease from makeready.jobs j
     where j.state = 'running' and j.worker_id = worker and j.lease <> all (known)
       for no key update skip locked
  loop
    v_to := makeready.fail(v_row.queue, v_row.id, v_row.lease, 'interrupted',
                           '{"code": "claim_lost", "message": "the worker never got the answer to its claim"}');
    if v_to = 'queued' then
      perform makeready.wake(v_row.queue);
    else
      perform makeready.announce(v_row.queue, array[v_row.id]);
    end if;
    v_count := v_count + 1;
  end loop;
  return v_count;
end
$$;
comment on function makeready.worker_strays(uuid, uuid[]) is
  'Gives back running jobs of a worker under leases that it does not know: the answer to their claim was lost. known: the leases it does know. Only while no claim of that worker is under way. Returns how many.';
