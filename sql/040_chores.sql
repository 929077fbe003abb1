-- Chores: no scheduler and no leader. Every process calls `tick` once a second; whichever comes first reaps, and
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
  v_since  timestamptz := '-infinity';
  v_reaper makeready.reaper;
  -- One stale time, and at most a minute: no single worker's patience may hold up everybody's recovery.
  v_patience interval := (select least(greatest('10 seconds', max(w.stale_after)), '1 minute') from makeready.workers w);
begin
  if current_setting('makeready.reconnected', true) = 'on' then      -- after an outage, as far as this process can tell
    v_since := least(coalesce(nullif(current_setting('makeready.ticks_since', true), '')::timestamptz, v_now), v_now);
    perform set_config('makeready.ticks_since', v_since::text, false);      -- of this session: gone with the connection
  end if;
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
    perform makeready.reap(1000, v_now >= v_reaper.trusts_after, v_since);
  end if;
  -- Those that come round each second are named only when they find something: idle processes stay idle.
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
             when 'ingest_abandoned' then makeready.ingest_has_abandoned(v_now)
             else true end
     order by c.due_at;
end
$$;
comment on function makeready.tick() is
  'Every process calls it each second: reaps, and names the chores that are due. After more than 3 s without a tick (the database was away) no heartbeat is trusted for one full stale time, a minute at most.';

create or replace function makeready.chore_batch(size integer, rows_done integer, ms float8)
  returns integer
  language sql
  immutable
  security definer
  set search_path = ''
as $$
  select case when ms > 200 then greatest(size / 2, 100)
              when rows_done >= size and ms < 50 then least(size * 2, 20000)
              else size end
$$;
comment on function makeready.chore_batch(integer, integer, float8) is
  'Rows of a chore''s next run, after one that dealt with this many in so many ms: doubled after a full and quick one, halved after a slow one, 100 to 20,000.';

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
         batch = makeready.chore_batch(c.batch, v_rows, v_ms),
         -- A full batch: go on at once. Otherwise the next time, but never a series to catch up with.
         due_at = case when v_rows >= c.batch then v_now
                       when c.due_at > v_now - c.every and c.due_at <= v_now then c.due_at + c.every else v_now + c.every end
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
                     where x.chore = chore_name and x.in_process and x.is_enabled
                       and (x.due_at <= v_now or x.due_at > v_now + greatest(x.every, '10 minutes'))      -- the clock was ahead
                       for update skip locked);
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
