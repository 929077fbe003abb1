-- Enqueue: a job is added in the caller's own transaction, from any language.
--
-- Admission under a limit happens behind the queue's `admit` gate, so at most max_open jobs are ever open. The gate is
-- held until the caller commits: enqueue into a limited queue late, in a short transaction, and when into several, in
-- the order of their names.

create or replace function makeready.first_turn(queue_name text, lane_name text, host_name text, rank integer, owner_key text)
  returns bigint
  language sql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
  set enable_bitmapscan = off
  set enable_sort = off
as $$
  -- Start-time fair queueing (Goyal, Vin, Cheng 1996) with all weights 1: an owner's next job gets the turn after its last
  -- one, but none before the turn that is being served. Both are read from the rows themselves; nothing is kept.
  select greatest(
    coalesce((select j.turn from makeready.jobs j
               where j.queue = queue_name and j.state = 'queued' and j.lane = lane_name and j.host = host_name and j.priority = rank
               order by j.turn limit 1), 1),
    coalesce((select j.turn + 1 from makeready.jobs j
               where j.queue = queue_name and j.state = 'queued' and j.turn > 0 and j.owner = owner_key
                 and j.lane = lane_name and j.host = host_name and j.priority = rank
               order by j.turn desc limit 1), 1))
$$;
comment on function makeready.first_turn(text, text, text, integer, text) is
  'The turn of an owner''s next job among those of its lane, host and rank in a fair queue: after the owner''s own, not before what is served now. Two simultaneous enqueues of one owner may share a turn, which costs nobody anything.';

create or replace function makeready.admit(queue_name text, job_count integer)
  returns makeready.queues
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
  set enable_bitmapscan = off
as $$
declare
  v_policy makeready.queues := makeready.queue_policy(queue_name);
  v_open   bigint;
begin
  if v_policy.max_open is not null then
    perform makeready.refuse_unless_read_committed('enqueue');
    perform 1 from makeready.gates g where g.queue = queue_name and g.kind = 'admit' for no key update;
    select * into v_policy from makeready.queues q where q.queue = queue_name;
  end if;
  if v_policy.closed_at is not null then
    raise exception 'queue % is closed since %', queue_name, v_policy.closed_at
      using errcode = 'MR503', detail = json_build_object('queue', queue_name, 'closed_at', v_policy.closed_at),
            hint = 'An operator opens it with makeready.queue_open.';
  end if;
  if v_policy.max_open is not null then
    -- One statement, so one snapshot, in which each job is in exactly one state whatever moves meanwhile. Never a full count.
    select (select count(*) from (select from makeready.jobs j where j.queue = queue_name and j.state = 'queued' limit v_policy.max_open) a)
         + (select count(*) from (select from makeready.jobs j where j.queue = queue_name and j.state = 'running' limit v_policy.max_open) a)
         + (select count(*) from (select from makeready.jobs j where j.queue = queue_name and j.state = 'waiting' limit v_policy.max_open) a)
      into v_open;
    if v_open + job_count > v_policy.max_open then
      raise exception 'queue % is full: % of % jobs are open', queue_name, v_open, v_policy.max_open
        using errcode = 'MR429',
              detail = json_build_object('queue', queue_name, 'reason', 'limit', 'in_flight', v_open, 'limit', v_policy.max_open,
                                         'retry_after_s', makeready.retry_after(queue_name)),
              hint = 'Try again when some have ended.';
    end if;
  end if;
  return v_policy;
end
$$;
comment on function makeready.admit(text, integer) is
  'Lets job_count jobs into a queue or raises: MR429 with the numbers when it is full, MR503 when it is closed, MR404 when there is none. Internal: enqueue calls it.';

create or replace function makeready.refuse_size(queue_name text, what text, bytes bigint, most bigint)
  returns void language plpgsql volatile security definer set search_path = ''
as $$
begin
  raise exception 'the % has % bytes, a job of queue % may have %', what, bytes, queue_name, most
    using errcode = 'MR422', detail = json_build_object('queue', queue_name, 'what', what, 'bytes', bytes, 'max_bytes', most),
          hint = 'Keep bytes in object storage and refer to them.';
end
$$;
comment on function makeready.refuse_size(text, text, bigint, bigint) is 'Raises MR422 for a body, outcome or report that is too large.';

create or replace function makeready.refuse_lane(queue_name text, lane_name text)
  returns void language plpgsql volatile security definer set search_path = ''
as $$
begin
  raise exception 'queue % has no lane %', queue_name, quote_literal(lane_name)
    using errcode = 'MR404', detail = json_build_object('queue', queue_name, 'lane', lane_name),
          hint = 'An operator creates it with makeready.lane_set.';
end
$$;
comment on function makeready.refuse_lane(text, text) is 'Raises MR404 for an unknown lane.';

create or replace function makeready.enqueue(queue_name text, body jsonb default '{}', job uuid default null, rank integer default 0,
    due timestamptz default null, deadline timestamptz default null, lane_name text default '', host_name text default '',
    owner_key text default '', batch_key uuid default null, attempts integer default null, wake boolean default false)
  returns uuid
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_policy makeready.queues;
  v_now    timestamptz;
  v_job    uuid := coalesce(job, makeready.uuid7());
begin
  if pg_column_size(body) > 1048576 then
    perform makeready.refuse_size(queue_name, 'body', pg_column_size(body), 1048576);
  end if;
  select * into v_policy from makeready.queues q where q.queue = queue_name;
  if not found or v_policy.max_open is not null or v_policy.closed_at is not null then
    v_policy := makeready.admit(queue_name, 1);
  end if;
  v_now := makeready.now();
  insert into makeready.jobs (queue, id, state, priority, turn, run_at, deadline_at, lane, host, owner, batch, payload, max_attempts, created_at)
  values (queue_name, v_job, case when due > v_now then 'waiting' else 'queued' end, rank,
          case when v_policy.is_fair then makeready.first_turn(queue_name, lane_name, host_name, rank, owner_key) else 0 end,
          coalesce(due, v_now), deadline, lane_name, host_name, owner_key, batch_key, body, attempts, v_now)
  on conflict do nothing;
  if not found then
    raise exception 'job % of queue % exists already', v_job, queue_name
      using errcode = 'MR409', detail = json_build_object('queue', queue_name, 'job', v_job),
            hint = 'Make a new id for each job, or use enqueue_once to repeat a request safely.';
  end if;
  if lane_name <> '' and not exists (select from makeready.lanes l where l.queue = queue_name and l.lane = lane_name) then
    perform makeready.refuse_lane(queue_name, lane_name);
  end if;
  if wake then
    perform makeready.wake(queue_name);
  end if;
  return v_job;
end
$$;
comment on function makeready.enqueue(text, jsonb, uuid, integer, timestamptz, timestamptz, text, text, text, uuid, integer, boolean) is
  'Adds a job in the caller''s own transaction and returns its id: it commits or vanishes with the caller''s data. rank: smaller first. due: not before. deadline: never after. MR429 full, MR503 closed, MR404 no such queue or lane, MR409 id taken. Call makeready.wake(queue) after the commit, or pass wake => true.';

create or replace function makeready.enqueue_many(queue_name text, bodies jsonb[], job_ids uuid[] default null, rank integer default 0,
    due timestamptz default null, deadline timestamptz default null, lane_name text default '', host_name text default '',
    owner_key text default '', batch_key uuid default null, attempts integer default null, wake boolean default false)
  returns uuid[]
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_count  integer := coalesce(cardinality(bodies), 0);
  v_policy makeready.queues;
  v_now    timestamptz;
  v_turn   bigint := 0;
  v_ids    uuid[];
begin
  if cardinality(job_ids) <> v_count then
    raise exception '% ids for % jobs', cardinality(job_ids), v_count
      using errcode = 'MR422', detail = json_build_object('queue', queue_name), hint = 'Give one id a body, or none at all.';
  end if;
  perform makeready.refuse_size(queue_name, 'body', pg_column_size(b.body), 1048576) from unnest(bodies) b (body)
    where pg_column_size(b.body) > 1048576;
  v_policy := makeready.admit(queue_name, v_count);
  v_now := makeready.now();
  if lane_name <> '' and not exists (select from makeready.lanes l where l.queue = queue_name and l.lane = lane_name) then
    perform makeready.refuse_lane(queue_name, lane_name);
  end if;
  if v_policy.is_fair then
    v_turn := makeready.first_turn(queue_name, lane_name, host_name, rank, owner_key);
  end if;
  -- Sorted: within one millisecond the ids differ in their random part only, and jobs that are equal run in order of id.
  v_ids := coalesce(job_ids, (select array_agg(i.id order by i.id) from (select makeready.uuid7() as id from generate_series(1, v_count)) i), '{}');
  insert into makeready.jobs (queue, id, state, priority, turn, run_at, deadline_at, lane, host, owner, batch, payload, max_attempts, created_at)
  select queue_name, b.id, case when due > v_now then 'waiting' else 'queued' end, rank,
         case when v_policy.is_fair then v_turn + b.place - 1 else 0 end,
         coalesce(due, v_now), deadline, lane_name, host_name, owner_key, batch_key, b.payload, attempts, v_now
    from unnest(v_ids, bodies) with ordinality b (id, payload, place)
  on conflict do nothing;
  get diagnostics v_count = row_count;
  if v_count < cardinality(v_ids) then
    raise exception '% of % job ids of queue % exist already', cardinality(v_ids) - v_count, cardinality(v_ids), queue_name
      using errcode = 'MR409', detail = json_build_object('queue', queue_name), hint = 'Make a new id for each job. None of these was added.';
  end if;
  if wake then
    perform makeready.wake(queue_name);
  end if;
  return v_ids;
end
$$;
comment on function makeready.enqueue_many(text, jsonb[], uuid[], integer, timestamptz, timestamptz, text, text, text, uuid, integer, boolean) is
  'enqueue for many jobs that differ in body only: all of them or none. Returns their ids in order.';
