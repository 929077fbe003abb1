-- Sweeps: the chores that move and delete rows. Each takes a bound in rows and leaves what others hold for the next time.

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
      exception when others then
        -- As in reap: a row of the job's domain is held, or the domain refuses; this job waits, the others do not.
        if sqlstate <> '55P03' then
          raise warning 'job % of queue % cannot expire: % (%)', v_job, v_queue, sqlerrm, sqlstate;
        end if;
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
   where (m.queue, m.minute) in (select o.queue, o.minute from makeready.queues q
                                  cross join lateral (select x.queue, x.minute from makeready.queue_minutes x
                                                       where x.queue = q.queue and x.minute < v_now - interval '30 days'
                                                       order by x.minute limit max_jobs) o
                                  limit max_jobs);
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
  set jit = off
  set enable_seqscan = off
  set enable_bitmapscan = off
  set enable_sort = off
  set enable_hashjoin = off
  set enable_mergejoin = off
as $$
declare
  v_now   timestamptz := makeready.now();      -- a volatile function in the condition would read every key there is
  v_count integer;
begin
  with old as materialized (
    select r.scope, r.operation, r.key from makeready.requests r
     where r.expires_at <= v_now order by r.expires_at limit max_rows for update skip locked)
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

select makeready.chore_create('promote', '1 second');
select makeready.chore_create('expire', '1 second');
select makeready.chore_create('prune', '60 seconds');
select makeready.chore_create('requests_purge', '60 seconds');
select makeready.chore_create('workers_forget', '60 seconds');
