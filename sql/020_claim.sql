-- Claim: the next jobs of a queue, each under a new lease.
--
-- A limit is counted behind the queue's claim gate, in a statement of its own; see docs/decisions/0002-gate-and-seat.md.
-- The plans are pinned: a handful of rows by their keys in the order of one index, whatever the statistics say. What is
-- switched off counts as very expensive before PostgreSQL 18 and would be compiled each time, hence jit = off.

create or replace function makeready.claim(queue_names text[], worker uuid, max_jobs integer default 1)
  returns setof makeready.jobs
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set plan_cache_mode = force_generic_plan   -- planning anew costs more than claiming
  set jit = off
  set enable_seqscan = off
  set enable_bitmapscan = off                -- a bitmap of the whole line, to see whether it is empty
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
       -- A scalar subquery with a LIMIT: as `exists` it would become a hash of all queued rows. It looks at the tail of the
       -- line, where the living are: under a held snapshot the dead gather at its head.
       and (not q.is_gated or (select true from makeready.jobs j where j.queue = q.queue and j.state = 'queued'
                                order by j.queue desc, j.lane desc, j.host desc, j.priority desc, j.turn desc, j.run_at desc, j.id desc
                                limit 1))
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
  set jit = off
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
      -- Again in this snapshot: the caller may have waited at another queue's gate since it looked.
      join makeready.queues q on q.queue = l.queue and q.paused_at is null and not q.is_gated
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
   -- By an array, not by a join: both columns are then always in the index condition, also on a table that was never analyzed.
   where j.queue = queue_name and j.id = any (array(select p.id from pick p))
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
  set jit = off
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
  v_in     text[];           -- the lanes of those
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
  select array_agg(coalesce(j.seat, 0)), array_agg(j.lane) into v_busy, v_in
    from makeready.jobs j where j.queue = queue_name and j.state = 'running';
  v_room := least(max_jobs, v_policy.max_in_flight - coalesce(cardinality(v_busy), 0));
  if v_room <= 0 then
    return;
  end if;
  -- Lanes with room. A full one is left out: its rows at the head of the line are never read.
  select array_agg(r.lane), array_agg(r.room) into v_lanes, v_rooms
    from (select l.lane, case when l.max_in_flight is null then v_room
                              else least(v_room, l.max_in_flight
                                         - (select count(*) from unnest(v_in) b (lane) where b.lane = l.lane)) end as room
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
     set state = 'running', seat = v_seats[array_position(array(select p.id from pick p), j.id)], lease = gen_random_uuid(),
         attempt = j.attempt + 1, worker_id = worker, started_at = v_now, run_until = least(v_now + v_policy.attempt_limit, j.deadline_at)
   where j.queue = queue_name and j.id = any (array(select p.id from pick p))
  returning j.*;
end
$$;
comment on function makeready.claim_seats(text, uuid, text, integer) is
  'The claim of a queue with a limit, of its own or of a lane: exact, behind the gate that claim has locked. Internal.';
