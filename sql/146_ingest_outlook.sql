-- Ingest, outlook: how long a photo that came now would wait and take. Admission asks while all workers are busy; operators
-- may at any time.
--
-- Nothing is kept for it: how quick a provider is says the rows of its last photos.

create or replace function makeready.ingest_pace(provider text, moment timestamptz)
  returns float8[]
  language sql
  stable
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
  set enable_bitmapscan = off
as $$
  -- One that was too late took at least the window: as it was cut off, it would make the provider look quick.
  select array_agg(case when d.failure_reason = 'timeout' then greatest(d.took, extract(epoch from d.expires_at - d.created_at)) else d.took end)
    from (select extract(epoch from p.finished_at - p.started_at)::float8 as took, p.failure_reason, p.expires_at, p.created_at
            from makeready.photos p
           where p.provider_id = provider and p.started_at is not null and p.finished_at is not null
             and p.finished_at > moment - interval '1 day'
           order by p.finished_at desc limit 60) d
   where d.failure_reason is distinct from 'cancelled'
$$;
comment on function makeready.ingest_pace(text, timestamptz) is
  'Seconds that the last photos of a provider took from claim to end, at most 60 of one day; null: none.';

drop function if exists makeready.ingest_outlook(text, text, timestamptz);
create or replace function makeready.ingest_outlook(lane_name text, host_name text, moment timestamptz)
  returns table (is_busy boolean, wait_s float8, p85_s float8, known integer)
  language plpgsql
  stable
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_tasks integer;
  v_ours  uuid[];
  v_job   record;
  v_load  integer := 0;
  v_pace  float8[];
  v_free  float8[];              -- when each task is free, in seconds from now
  v_lanes jsonb := '{}';         -- the same for those who hold a place of each lane
  v_held  float8[];
  v_at    float8;
begin
  select coalesce(sum(w.tasks), 0) into v_tasks from makeready.workers w
   where 'ingest' = any (w.queues) and w.draining_at is null and w.beat_at >= moment - w.stale_after and host_name in ('', w.host);
  -- Those that the same workers could take: photos in another machine's folder are not in the way.
  v_ours := array(select o.job from makeready.ingest_open(moment) o
                   where (select j.host = host_name or '' in (j.host, host_name)      -- one probe by key each; a join would read the past
                            from makeready.jobs j where j.queue = 'ingest' and j.id = o.job));
  if v_tasks = 0 or v_tasks > cardinality(v_ours) then
    return query select false, 0::float8, null::float8, 0;
    return;
  end if;
  v_pace := makeready.ingest_pace(lane_name, moment);
  v_free := array_fill(0::float8, array[v_tasks]);
  for v_job in      -- who runs first, then who waits, in the order of claims
    with ours as materialized (select o.* from makeready.ingest_open(moment) o where o.job = any (v_ours)),
         places as materialized (select l.lane, l.max_in_flight, case l.lane when lane_name then v_pace else makeready.ingest_pace(l.lane, moment) end as pace
                                  from makeready.lanes l where l.queue = 'ingest' and l.lane in (select o.job_lane from ours o))
    select o.job_state = 'running' as runs, o.job_lane, l.max_in_flight as seats, extract(epoch from o.until - moment)::float8 as left_s,
           extract(epoch from moment - o.since)::float8 as spent_s, coalesce(l.pace, v_pace) as pace
      from ours o join places l on l.lane = o.job_lane
     order by o.job_state = 'running' desc, o.since, o.job
  loop
    v_held := array(select s::float8 from jsonb_array_elements_text(v_lanes -> v_job.job_lane) s order by s::float8 desc);
    if v_job.runs then
      -- Those that took longer than this one has had tell how much longer; none has: as long as it may.
      v_at := least(v_job.left_s, coalesce((select avg(d) - v_job.spent_s from unnest(v_job.pace) d where d > v_job.spent_s), v_job.left_s));
      v_load := v_load + 1;
    else
      -- It starts when a task is free, and a place of its lane if that has a limit.
      v_at := greatest((select min(f) from unnest(v_free) f), v_held[v_job.seats], 0)
              + coalesce((select avg(d) from unnest(v_job.pace) d), 0);
      if v_job.seats is null or cardinality(v_held) < v_job.seats then
        v_load := v_load + 1;
      end if;
    end if;
    v_lanes := v_lanes || jsonb_build_object(v_job.job_lane, v_held || v_at);
    -- It has the task that is free first.
    v_free := array(select case f.place when 1 then greatest(f.free_at, v_at) else f.free_at end
                      from (select t.free_at, row_number() over (order by t.free_at) as place from unnest(v_free) t (free_at)) f);
  end loop;
  v_held := array(select s::float8 from jsonb_array_elements_text(v_lanes -> lane_name) s order by s::float8 desc);
  return query
    select v_load >= v_tasks,
           greatest((select min(f) from unnest(v_free) f),
                    v_held[(select l.max_in_flight from makeready.lanes l where l.queue = 'ingest' and l.lane = lane_name)], 0),
           (select percentile_cont(0.85) within group (order by d) from unnest(v_pace) d), coalesce(cardinality(v_pace), 0);
end
$$;
comment on function makeready.ingest_outlook(text, text, timestamptz) is
  'What a photo that came now could expect: whether all tasks are busy, the seconds until one and a place with the provider are free, and what 85 of 100 of its photos take. known: of how many that is known.';

grant execute on function makeready.ingest_outlook(text, text, timestamptz), makeready.ingest_pace(text, timestamptz) to makeready_ops;
