-- Maintenance: no scheduler and no leader. Every process calls `tick` once a second; whichever comes first reaps, and
-- runs the chores that are due, each by a call of its own. Every chore is bounded in rows, and a bad one stops no other.

create table if not exists makeready.chores (
  chore      text        not null constraint chores_pk primary key,
  every      interval    not null constraint chores_every_is_positive check (every > '0'),
  due_at     timestamptz not null,
  is_enabled boolean     not null default true,
  in_process boolean     not null default false,
  batch      integer     not null default 1000,
  ran_at     timestamptz,
  last_ms    float8,
  last_rows  integer,
  last_error text,
  failures   integer     not null default 0
) with (fillfactor = 50);
comment on table makeready.chores is 'Maintenance that comes round. Whoever takes the row''s lock first does it; if the process dies, the transaction is undone and the next one does it.';
comment on column makeready.chores.chore is 'Name of the function that does it: (rows at most) → rows dealt with.';
comment on column makeready.chores.every is 'How often.';
comment on column makeready.chores.due_at is 'When next. After a downtime it runs once, not once for each time missed.';
comment on column makeready.chores.is_enabled is 'False: not run until an operator says so.';
comment on column makeready.chores.in_process is 'True: a process with object storage does it, and takes it with chore_take; false: chore_run does it in the database.';
comment on column makeready.chores.batch is 'Rows of one run: doubled after a quick run, halved after a slow one.';
comment on column makeready.chores.ran_at is 'When it last ran.';
comment on column makeready.chores.last_ms is 'How long that took, in milliseconds.';
comment on column makeready.chores.last_rows is 'Rows it dealt with.';
comment on column makeready.chores.last_error is 'What went wrong last, null after a success.';
comment on column makeready.chores.failures is 'Failures in a row.';

create or replace function makeready.chore_create(chore_name text, period interval, by_process boolean default false)
  returns void language sql volatile security definer set search_path = ''
as $$
  insert into makeready.chores (chore, every, due_at, in_process, is_enabled)
  values (chore_name, period, makeready.now(), by_process, not by_process)
  on conflict do nothing
$$;
comment on function makeready.chore_create(text, interval, boolean) is
  'Makes a chore come round every period: the function makeready.<chore_name>(integer) returning integer, or by_process what a process with storage does, once an operator has switched it on. A chore that exists keeps its period. Called by SQL files.';

create or replace function makeready.chore_set(chore_name text, enabled boolean, period interval default null, because text default null)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_old makeready.chores;
begin
  select * into v_old from makeready.chores c where c.chore = chore_name for no key update;
  if not found then
    raise exception 'there is no chore %', quote_literal(chore_name)
      using errcode = 'MR404', detail = json_build_object('chore', chore_name), hint = 'select chore from makeready.chores lists them.';
  end if;
  update makeready.chores c
     set is_enabled = enabled, every = coalesce(period, c.every), due_at = least(c.due_at, makeready.now() + coalesce(period, c.every))
   where c.chore = chore_name;
  perform makeready.audit('chore_set', chore_name, jsonb_build_object('is_enabled', v_old.is_enabled, 'every', v_old.every),
                          jsonb_build_object('is_enabled', enabled, 'every', coalesce(period, v_old.every)), because);
end
$$;
comment on function makeready.chore_set(text, boolean, interval, text) is 'Switches a chore on or off, or changes how often it comes round.';

create or replace function makeready.chore_take(chore_name text)
  returns boolean
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_now timestamptz := makeready.now();
begin
  -- One process gets it; if that one dies on the way, it comes round again in its time.
  update makeready.chores c set due_at = v_now + c.every, ran_at = v_now
   where c.chore = (select x.chore from makeready.chores x
                     where x.chore = chore_name and x.in_process and x.is_enabled and x.due_at <= v_now for update skip locked);
  return found;
end
$$;
comment on function makeready.chore_take(text) is 'True for the one process that is to do a chore outside the database now.';

create or replace function makeready.chore_done(chore_name text, row_count integer, milliseconds float8)
  returns void
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  update makeready.chores c set last_rows = row_count, last_ms = milliseconds, last_error = null, failures = 0 where c.chore = chore_name
$$;
comment on function makeready.chore_done(text, integer, float8) is 'Notes what a chore outside the database has done.';

create table if not exists makeready.queue_minutes (
  queue       text        not null,
  minute      timestamptz not null,
  done        integer     not null,
  dead        integer     not null,
  cancelled   integer     not null,
  expired     integer     not null,
  retried     integer     not null,
  lost        integer     not null,
  wait_p50_ms float8,
  wait_p95_ms float8,
  run_p50_ms  float8,
  run_p95_ms  float8,
  constraint queue_minutes_pk primary key (queue, minute)
);
comment on table makeready.queue_minutes is 'What each queue did in each minute, for graphs: reading it never scans jobs. Kept for 30 days.';
comment on column makeready.queue_minutes.queue is 'The queue.';
comment on column makeready.queue_minutes.minute is 'Begin of the minute.';
comment on column makeready.queue_minutes.done is 'Jobs done.';
comment on column makeready.queue_minutes.dead is 'Jobs that died.';
comment on column makeready.queue_minutes.cancelled is 'Jobs cancelled.';
comment on column makeready.queue_minutes.expired is 'Jobs whose deadline passed.';
comment on column makeready.queue_minutes.retried is 'Attempts that failed and were retried.';
comment on column makeready.queue_minutes.lost is 'Leases lost.';
comment on column makeready.queue_minutes.wait_p50_ms is 'Median time from due to claimed, of done jobs; of the last ones of a busy minute.';
comment on column makeready.queue_minutes.wait_p95_ms is '95th percentile of the same.';
comment on column makeready.queue_minutes.run_p50_ms is 'Median time from claimed to done.';
comment on column makeready.queue_minutes.run_p95_ms is '95th percentile of the same.';

create or replace function makeready.tick()
  returns setof text
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set plan_cache_mode = force_generic_plan
  set jit = off
  set enable_seqscan = off
  set enable_bitmapscan = off
as $$
declare
  v_now    timestamptz := makeready.now();
  v_reaper makeready.reaper;
  -- One stale time, and at most a minute: no single worker's patience may hold up everybody's recovery.
  v_patience interval := (select least(greatest('10 seconds', max(w.stale_after)), '1 minute') from makeready.workers w);
begin
  -- Once a second for all processes together: who finds the row locked or fresh goes on to the chores.
  select * into v_reaper from makeready.reaper r where r.ran_at <= v_now - interval '0.5 seconds' or r.ran_at > v_now
     for update skip locked;
  if found then
    perform set_config('synchronous_commit', 'off', true);
    if v_reaper.ran_at < v_now - interval '3 seconds' then
      v_reaper.trusts_after := v_now + v_patience;
    end if;
    -- A clock that ran ahead and came back must not keep it waiting.
    v_reaper.trusts_after := least(v_reaper.trusts_after, v_now + v_patience);
    update makeready.reaper r set ran_at = v_now, trusts_after = v_reaper.trusts_after;
    perform makeready.reap(1000, v_now >= v_reaper.trusts_after);
  end if;
  -- The two that come round each second are named only when they find something: idle processes stay idle.
  return query
    select c.chore from makeready.chores c
     where c.is_enabled and not c.in_process and (c.due_at <= v_now or c.due_at > v_now + greatest(c.every, '10 minutes'))
       and case c.chore
             when 'promote' then exists
               (select from makeready.queues q where (select true from makeready.jobs j
                 where j.queue = q.queue and j.state = 'waiting' and j.run_at <= v_now limit 1))
             when 'expire' then exists
               (select from makeready.queues q where (select true from makeready.jobs j
                 where j.queue = q.queue and j.state in ('waiting', 'queued') and j.deadline_at <= v_now limit 1))
             else true end
     order by c.due_at;
end
$$;
comment on function makeready.tick() is
  'Every process calls it each second: reaps, and names the chores that are due. After more than 3 s without a tick (the database was away) no heartbeat is trusted for one full stale time.';

create or replace function makeready.chore_run(chore_name text)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_chore makeready.chores;
  v_now   timestamptz := makeready.now();
  v_start timestamptz := clock_timestamp();
  v_rows  integer;
  v_ms    float8;
begin
  select * into v_chore from makeready.chores c
   where c.chore = chore_name and c.is_enabled and not c.in_process
     and (c.due_at <= v_now or c.due_at > v_now + greatest(c.every, '10 minutes'))      -- the clock was ahead
     for update skip locked;
  if not found then
    return -1;
  end if;
  -- What a crash takes back is done again, and a NOTIFY in here must not hold its lock through a flush.
  perform set_config('synchronous_commit', 'off', true);
  -- The only dynamic statement: a queue's file brings chores of its own, and only the owner writes this table.
  execute format('select makeready.%I($1)', v_chore.chore) into v_rows using v_chore.batch;
  v_ms := extract(epoch from clock_timestamp() - v_start) * 1000;
  update makeready.chores c
     set ran_at = v_now, last_rows = v_rows, last_ms = v_ms, last_error = null, failures = 0,
         batch = case when v_ms > 200 then greatest(c.batch / 2, 100)
                      when v_rows >= c.batch and v_ms < 50 then least(c.batch * 2, 20000) else c.batch end,
         -- A full batch: go on at once. Otherwise the next time, but never a series to catch up with.
         due_at = case when v_rows >= c.batch then v_now when c.due_at + c.every > v_now then c.due_at + c.every else v_now + c.every end
   where c.chore = chore_name;
  return v_rows;
end
$$;
comment on function makeready.chore_run(text) is
  'Runs one chore in the caller''s transaction if it is due and nobody else has it: rows dealt with, or -1. Give it a statement_timeout and report what it raises to chore_failed: a cancelled statement cannot record its own failure.';

create or replace function makeready.chore_failed(chore_name text, message text)
  returns void
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  update makeready.chores c
     set last_error = left(message, 2000), failures = c.failures + 1, ran_at = makeready.now(),
         due_at = makeready.now() + least(c.every * power(2, least(c.failures, 6)), greatest(c.every, '10 minutes'))
   where c.chore = chore_name
$$;
comment on function makeready.chore_failed(text, text) is 'Notes that a chore failed; it comes round again, later with each failure in a row, after 10 minutes or its own period at latest.';

create or replace function makeready.promote(max_jobs integer)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
  set enable_bitmapscan = off
  set enable_sort = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_now   timestamptz := makeready.now();
  v_count integer := 0;
  v_moved integer;
  v_queue text;
begin
  for v_queue in select q.queue from makeready.queues q loop
    with due as materialized (
      select j.id from makeready.jobs j where j.queue = v_queue and j.state = 'waiting' and j.run_at <= v_now
       order by j.run_at limit max_jobs - v_count for update skip locked
    )
    -- By an array of ids, here and in expire: a join planned on a small table would read all of it when it has grown.
    update makeready.jobs j set state = 'queued' where j.queue = v_queue and j.id = any (array(select d.id from due d));
    get diagnostics v_moved = row_count;
    if v_moved > 0 then
      perform makeready.wake(v_queue);
      v_count := v_count + v_moved;
    end if;
  end loop;
  return v_count;
end
$$;
comment on function makeready.promote(integer) is 'Queues waiting jobs whose time has come, so that jobs of the future never lie in the way of a claim.';

create or replace function makeready.expire(max_jobs integer)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set lock_timeout = '100ms'
  set jit = off
  set enable_seqscan = off
  set enable_bitmapscan = off
  set enable_sort = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_now     timestamptz := makeready.now();
  v_count   integer := 0;
  v_blocked integer := 0;
  v_queue   text;
  v_job     uuid;
begin
  for v_queue in select q.queue from makeready.queues q loop
    for v_job in
      select l.id
        from (select j.id from makeready.jobs j
               where j.queue = v_queue and j.state in ('waiting', 'queued') and j.deadline_at <= v_now
               order by j.deadline_at limit max_jobs - v_count for update skip locked) l
       order by random()      -- else the same blocked ones would come first each time
    loop
      begin
        update makeready.jobs j
           set state = 'expired', finished_at = v_now,
               error = jsonb_build_object('code', 'deadline', 'message', 'the deadline passed before it ran', 'last_error', j.error)
         where j.queue = v_queue and j.id = v_job;
        perform makeready.announce(v_queue, array[v_job]);
        v_count := v_count + 1;
      exception when lock_not_available then
        -- As in reap: a row of the job's domain is held; this job waits, the others do not.
        v_blocked := v_blocked + 1;
        exit when v_blocked >= 5;
      end;
    end loop;
  end loop;
  return v_count;
end
$$;
comment on function makeready.expire(integer) is 'Ends jobs whose deadline passed before they ran.';

create or replace function makeready.prune(max_jobs integer)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
  set enable_bitmapscan = off
  set enable_sort = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_now   timestamptz := makeready.now();
  v_count integer;
begin
  -- One range of one index a queue and state; what another session holds is left for the next time.
  with old as materialized (
    select j.queue, j.id from makeready.queues q
     cross join (values ('done'), ('cancelled'), ('expired'), ('dead')) s (state)
     cross join lateral (select j.queue, j.id from makeready.jobs j
                          where j.queue = q.queue and j.state = s.state
                            and j.finished_at < v_now - case s.state when 'dead' then q.keep_dead else q.keep_done end
                          order by j.finished_at limit max_jobs for update skip locked) j
     limit max_jobs
  ), gone as (
    delete from makeready.jobs j using old o where j.queue = o.queue and j.id = o.id returning j.queue, j.id
  ), history as (
    delete from makeready.attempts a using gone g where a.queue = g.queue and a.job_id = g.id
  )
  select count(*) into v_count from gone;
  delete from makeready.queue_minutes m
   where (m.queue, m.minute) in (select x.queue, x.minute from makeready.queue_minutes x
                                  where x.minute < v_now - interval '30 days' limit max_jobs);
  return v_count;
end
$$;
comment on function makeready.prune(integer) is
  'Deletes ended jobs past their queue''s keep_done or keep_dead, with their attempts, oldest first. What the jobs made has a life of its own.';

create or replace function makeready.requests_purge(max_rows integer)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_count integer;
begin
  with old as materialized (
    select r.scope, r.operation, r.key from makeready.requests r
     where r.expires_at <= makeready.now() order by r.expires_at limit max_rows for update skip locked)
  delete from makeready.requests r using old o
   where r.scope = o.scope and r.operation = o.operation and r.key = o.key;
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
comment on function makeready.requests_purge(integer) is 'Deletes idempotency keys whose time is over.';

create or replace function makeready.workers_forget(max_rows integer)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_count integer;
begin
  -- Not right after an outage: a worker without a row loses its jobs, and the database may have been away for that hour.
  delete from makeready.workers w
   where w.id in (select x.id from makeready.workers x where x.beat_at < makeready.now() - interval '1 hour' limit max_rows)
     and exists (select from makeready.reaper r where r.trusts_after <= makeready.now());
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
comment on function makeready.workers_forget(integer) is 'Strikes processes off the list that have been silent for an hour.';

create or replace function makeready.stats_take(max_rows integer)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_this  timestamptz := date_trunc('minute', makeready.now());
  v_count integer;
begin
  -- The running minute and the one before, again each time, so that late commits are counted.
  insert into makeready.queue_minutes as t (queue, minute, done, dead, cancelled, expired, retried, lost,
                                            wait_p50_ms, wait_p95_ms, run_p50_ms, run_p95_ms)
  select q.queue, m.minute, ended.done, ended.dead, ended.cancelled, ended.expired, tried.retried, tried.lost,
         times.wait[1], times.wait[2], times.run[1], times.run[2]
    from makeready.queues q
   cross join (values (v_this - interval '1 minute'), (v_this)) m (minute)
   cross join lateral (
     select count(*) filter (where s.state = 'done') as done, count(*) filter (where s.state = 'dead') as dead,
            count(*) filter (where s.state = 'cancelled') as cancelled, count(*) filter (where s.state = 'expired') as expired
       from (values ('done'), ('dead'), ('cancelled'), ('expired')) k (state)
       join makeready.jobs s on s.queue = q.queue and s.state = k.state
        and s.finished_at >= m.minute and s.finished_at < m.minute + interval '1 minute') ended
   cross join lateral (
     select count(*) filter (where a.outcome = 'retry') as retried, count(*) filter (where a.outcome = 'lost') as lost
       from makeready.attempts a
      where a.queue = q.queue and a.ended_at >= m.minute and a.ended_at < m.minute + interval '1 minute') tried
   cross join lateral (
     select percentile_cont(array[0.5, 0.95]) within group (order by extract(epoch from d.started_at - d.run_at) * 1000) as wait,
            percentile_cont(array[0.5, 0.95]) within group (order by extract(epoch from d.finished_at - d.started_at) * 1000) as run
       from (select j.started_at, j.run_at, j.finished_at from makeready.jobs j
              where j.queue = q.queue and j.state = 'done' and j.finished_at >= m.minute and j.finished_at < m.minute + interval '1 minute'
              order by j.finished_at desc limit greatest(max_rows, 1000)) d) times
   where ended.done + ended.dead + ended.cancelled + ended.expired + tried.retried + tried.lost > 0
  on conflict on constraint queue_minutes_pk do update
     set done = excluded.done, dead = excluded.dead, cancelled = excluded.cancelled, expired = excluded.expired,
         retried = excluded.retried, lost = excluded.lost, wait_p50_ms = excluded.wait_p50_ms, wait_p95_ms = excluded.wait_p95_ms,
         run_p50_ms = excluded.run_p50_ms, run_p95_ms = excluded.run_p95_ms
   where (t.done, t.dead, t.cancelled, t.expired, t.retried, t.lost)
         is distinct from (excluded.done, excluded.dead, excluded.cancelled, excluded.expired, excluded.retried, excluded.lost);
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
comment on function makeready.stats_take(integer) is 'Brings queue_minutes up to date for the running and the last minute.';

create or replace function makeready.retry_after(queue_name text)
  returns integer
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select coalesce((select greatest(1, least(600, ceil(m.run_p50_ms / 1000)))::integer
                     from makeready.queue_minutes m
                    where m.queue = queue_name and m.run_p50_ms is not null order by m.minute desc limit 1), 1)
$$;
comment on function makeready.retry_after(text) is 'Seconds after which a place in a full queue is likely: the median run time of the last busy minute, 1 to 600.';

select makeready.chore_create('promote', '1 second');
select makeready.chore_create('expire', '1 second');
select makeready.chore_create('stats_take', '10 seconds');
select makeready.chore_create('prune', '60 seconds');
select makeready.chore_create('requests_purge', '60 seconds');
select makeready.chore_create('workers_forget', '60 seconds');
