-- What a caller calls: enqueue, in its own transaction and from any language; wait for the end; cancel; give up.
--
-- Admission under a limit happens behind the queue's `admit` gate, so at most max_open jobs are ever open. The gate is
-- held until the caller commits: enqueue into a limited queue late, in a short transaction, and when into several, in
-- the order of their names.
--
-- Idempotency belongs to requests, not to jobs: a request is (scope, operation, key). The first one creates; the same
-- one again joins what is still open or replays what has ended; another body under the same key is refused. The key is
-- taken before the gate, so a duplicate is never refused for a limit. Several keys in one transaction: in sorted order.
--
-- No NOTIFY in a transaction that waits for the disk: it is committed under one lock for the whole database, through
-- the flush. Callers commit, then call wake; a lost wake costs one poll. `wake => true` is for those who cannot.

create table if not exists makeready.requests (
  scope       text        not null,
  operation   text        not null,
  key         text        not null constraint requests_key_is_short check (length(key) between 1 and 255),
  fingerprint bytea       not null,
  queue       text        not null,
  resource    uuid        not null,
  status      text        not null constraint requests_status_is_known check (status in ('open', 'ended')),
  created_at  timestamptz not null,
  expires_at  timestamptz not null,
  constraint requests_pk primary key (scope, operation, key)
);
create index if not exists requests_expired on makeready.requests (expires_at);
comment on table makeready.requests is 'Idempotency keys: one row a request that a caller may repeat. It outlives the job it made.';
comment on column makeready.requests.scope is 'Whose key it is: a user, a slot. Keys of two callers never meet.';
comment on column makeready.requests.operation is 'What was asked for: a route, a function.';
comment on column makeready.requests.key is 'The caller''s key.';
comment on column makeready.requests.fingerprint is 'SHA-256 of the request: another body under the same key is a mistake.';
comment on column makeready.requests.queue is 'The queue of what it made.';
comment on column makeready.requests.resource is 'The job or the batch it made.';
comment on column makeready.requests.status is 'ended, once a repetition has found nothing open any more: the job may be pruned after that.';
comment on column makeready.requests.created_at is 'When it was first made.';
comment on column makeready.requests.expires_at is 'When the key is free again.';

create or replace function makeready.request_take(scope_key text, operation_name text, request_key text, body_hash bytea,
    queue_name text, target uuid, keep interval default null)
  returns table (verdict text, target_id uuid)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_row    makeready.requests;
  v_policy makeready.queues := makeready.queue_policy(queue_name);
  v_now    timestamptz := makeready.now();
begin
  perform makeready.refuse_unless_read_committed('request_take');
  -- The same key in another open transaction: this waits for its end, and then finds its row or is the first.
  insert into makeready.requests (scope, operation, key, fingerprint, queue, resource, status, created_at, expires_at)
  values (scope_key, operation_name, request_key, body_hash, queue_name, target, 'open', v_now, v_now + coalesce(keep, v_policy.keep_request))
  on conflict do nothing;
  if found then
    return query select 'created'::text, target;
    return;
  end if;
  select * into v_row from makeready.requests r
   where r.scope = scope_key and r.operation = operation_name and r.key = request_key for update;
  if not found then                                  -- purged between the two statements
    raise exception 'the idempotency key % was released just now', quote_literal(request_key)
      using errcode = '40001', hint = 'Repeat the transaction.';
  end if;
  v_now := makeready.now();
  if v_row.expires_at > v_now and v_row.fingerprint <> body_hash then
    raise exception 'the idempotency key % belongs to another request', quote_literal(request_key)
      using errcode = 'MR422', detail = json_build_object('code', 'idempotency_mismatch', 'key', request_key, 'resource', v_row.resource),
            hint = 'Use a new key for a new request.';
  end if;
  -- Nothing to join and nothing to replay after a cancellation, a deadline or the key's own time: a new beginning.
  if v_row.expires_at <= v_now or exists (select from makeready.jobs j where j.queue = v_row.queue and j.id = v_row.resource
                                             and j.state in ('cancelled', 'expired')) then
    update makeready.requests r
       set fingerprint = body_hash, queue = queue_name, resource = target, status = 'open', created_at = v_now,
           expires_at = v_now + coalesce(keep, v_policy.keep_request)
     where r.scope = scope_key and r.operation = operation_name and r.key = request_key;
    return query select 'created'::text, target;
  elsif v_row.status = 'open' and makeready.is_open(v_row.queue, v_row.resource) then
    return query select 'joined'::text, v_row.resource;
  else
    update makeready.requests r set status = 'ended'
     where r.scope = scope_key and r.operation = operation_name and r.key = request_key and r.status = 'open';
    return query select 'replayed'::text, v_row.resource;
  end if;
end
$$;
comment on function makeready.request_take(text, text, text, bytea, text, uuid, interval) is
  'Takes an idempotency key for target: created (go on and make it), joined (target_id is still open), replayed (it has ended). MR422 when the key belongs to another body. Call it first in the transaction.';

create or replace function makeready.is_open(queue_name text, target uuid)
  returns boolean
  language sql
  stable
  security definer
  set search_path = ''
  set jit = off
  set enable_seqscan = off
as $$
  select exists (select from makeready.jobs j where j.queue = queue_name and j.id = target and j.state in ('waiting', 'queued', 'running'))
      or exists (select from makeready.jobs j where j.queue = queue_name and j.batch = target and j.state in ('waiting', 'queued', 'running'))
$$;
comment on function makeready.is_open(text, uuid) is 'Whether a job, or any job of a batch, has not ended yet.';

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
               order by j.turn desc limit 1), 1))
$$;
comment on function makeready.first_turn(text, text, text, integer, text) is
  'The turn of an owner''s next job in a fair queue: after the owner''s own queued jobs, not before what is served now. Two simultaneous enqueues of one owner may share a turn, which costs nobody anything.';

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
comment on function makeready.refuse_size(text, text, bigint, bigint) is 'Raises MR422 for a body or outcome that is too large.';

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

create or replace function makeready.enqueue_once(scope_key text, operation_name text, request_key text, body_hash bytea,
    queue_name text, body jsonb default '{}', job uuid default null, rank integer default 0,
    due timestamptz default null, deadline timestamptz default null, lane_name text default '', host_name text default '',
    owner_key text default '', batch_key uuid default null, attempts integer default null, wake boolean default false)
  returns table (verdict text, job_id uuid, job_state text)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_verdict text;
  v_job     uuid;
begin
  select t.verdict, t.target_id into v_verdict, v_job
    from makeready.request_take(scope_key, operation_name, request_key, body_hash, queue_name, coalesce(job, makeready.uuid7())) t;
  if v_verdict = 'created' then
    perform makeready.enqueue(queue_name, body, v_job, rank, due, deadline, lane_name, host_name, owner_key, batch_key, attempts, wake);
  end if;
  return query
    select v_verdict, v_job, coalesce((select j.state from makeready.jobs j where j.queue = queue_name and j.id = v_job), 'pruned');
end
$$;
comment on function makeready.enqueue_once(text, text, text, bytea, text, jsonb, uuid, integer, timestamptz, timestamptz, text, text, text, uuid, integer, boolean) is
  'enqueue under an idempotency key: created, joined (the same request is still open) or replayed (it has ended; its job may be pruned). A duplicate is never refused for a limit.';

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
  v_now   timestamptz;
begin
  select j.state into v_state from makeready.jobs j where j.queue = queue_name and j.id = job for no key update;
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
    return 'cancelled';
  elsif v_state = 'running' then
    -- The worker stops it at its next beat; if it finishes first, the work counts.
    update makeready.jobs j set cancel_at = coalesce(j.cancel_at, v_now) where j.queue = queue_name and j.id = job;
    perform pg_notify('makeready', 'cancel ' || queue_name || ' ' || job);
  end if;
  return v_state;
end
$$;
comment on function makeready.cancel(text, uuid, text) is
  'Cancels a job that has not started, asks the worker of a running one to stop; returns the state it is in now. An ended job stays as it is.';

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
begin
  update makeready.jobs j
     set state = 'expired', finished_at = makeready.now(), lease = null, seat = null, run_until = null,
         error = coalesce(problem, '{"code": "gave_up", "message": "the caller could not wait any longer"}')
   where j.queue = queue_name and j.id = job and j.state in ('waiting', 'queued', 'running');
  -- done: the answer came in the last moment, use it. expired: no later result can overwrite that.
  return query select j.state, j.result, j.error from makeready.jobs j where j.queue = queue_name and j.id = job;
end
$$;
comment on function makeready.give_up(text, uuid, jsonb) is
  'For a caller who must answer now: ends the job as expired unless it has ended already, and returns how it stands. A result that comes later is refused.';
