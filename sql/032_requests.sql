-- Requests: what a caller may safely repeat.
--
-- Idempotency belongs to requests, not to jobs: a request is (scope, operation, key). The first one creates; the same
-- one again joins what is still open or replays what has ended; another body under the same key is refused. The key is
-- taken before the gate, so a duplicate is never refused for a limit. Several keys in one transaction: in sorted order.

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
comment on column makeready.requests.status is 'open, or ended once a repetition has found nothing open any more: from then on each one is a replay.';
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
