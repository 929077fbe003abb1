-- Webhooks: a user's own programs are told when something of theirs has ended.
--
-- An *endpoint* is a URL of a user and the events it wants. When something ends, a *delivery* is written for each endpoint
-- that wants it, in the very transaction of that end: it commits or vanishes with what it tells of. A job of the queue
-- `deliver` sends it (110_deliver), again and again with the same id and the same text until the receiver has taken it.
-- So everything is delivered at least once, a receiver tells repeats by the id, and no order is promised.
--
--   pending ──► delivered
--     │  ▲
--     ▼  │ retried by its owner or an operator
--   failed            attempts used up, the receiver is gone, the endpoint is disabled
--
-- Messages are signed as Standard Webhooks say: HMAC-SHA256 over id, time and text. The secret is made here and returned
-- once; afterwards only `webhook_input` hands it out, to a worker. After a rotation both secrets sign for a while.
-- Locks are taken in one order: job, endpoint, delivery.

create table if not exists makeready.webhook_endpoints (
  id            uuid        not null constraint webhook_endpoints_pk primary key,
  user_id       uuid        not null constraint webhook_endpoints_fk_users references makeready.users on delete cascade,
  url           text        not null constraint webhook_endpoints_url_is_http check (url ~ '^https?://[^\s]+$' and length(url) <= 2000),
  events        text[]      not null constraint webhook_endpoints_events_are_known
                            check (cardinality(events) > 0 and events <@ array['render.ready', 'render.failed', 'pack.done', 'pack.bundled']),
  failures      integer     not null default 0 constraint webhook_endpoints_failures_is_not_negative check (failures >= 0),
  failing_since timestamptz,
  disabled_at   timestamptz,
  disabled_why  text        constraint webhook_endpoints_why_is_known check (disabled_why in ('owner', 'gone', 'failing')),
  created_at    timestamptz not null,
  constraint webhook_endpoints_why_iff_disabled check ((disabled_why is not null) = (disabled_at is not null))
);
create index if not exists webhook_endpoints_of_user on makeready.webhook_endpoints (user_id, id);
comment on table makeready.webhook_endpoints is 'Where users want to be told.';
comment on column makeready.webhook_endpoints.id is 'UUID version 7.';
comment on column makeready.webhook_endpoints.user_id is 'Whose it is.';
comment on column makeready.webhook_endpoints.url is 'Where to post; it may hold a secret of its owner''s, so no log has it.';
comment on column makeready.webhook_endpoints.events is 'What it wants to hear of.';
comment on column makeready.webhook_endpoints.failures is 'Deliveries given up since the last that went through.';
comment on column makeready.webhook_endpoints.failing_since is 'When the first attempt failed since the last delivery that went through; null: all is well.';
comment on column makeready.webhook_endpoints.disabled_at is 'Since when nothing is sent there; null: active.';
comment on column makeready.webhook_endpoints.disabled_why is 'owner: its owner did it. gone: the receiver answered 410. failing: too much was given up.';
comment on column makeready.webhook_endpoints.created_at is 'When it was made.';

create table if not exists makeready.webhook_secrets (
  endpoint_id  uuid        not null constraint webhook_secrets_pk primary key
                           constraint webhook_secrets_fk_endpoints references makeready.webhook_endpoints on delete cascade,
  secret       bytea       not null constraint webhook_secrets_secret_is_long check (octet_length(secret) between 24 and 64),
  former       bytea,
  former_until timestamptz
);
comment on table makeready.webhook_secrets is 'Keys that sign; apart from the endpoints, so that nobody who reads those reads these.';
comment on column makeready.webhook_secrets.endpoint_id is 'The endpoint.';
comment on column makeready.webhook_secrets.secret is 'The key: what stands behind whsec_ in base64.';
comment on column makeready.webhook_secrets.former is 'The key before the last rotation.';
comment on column makeready.webhook_secrets.former_until is 'Until when that one signs too.';

create table if not exists makeready.webhook_deliveries (
  id          uuid        not null constraint webhook_deliveries_pk primary key,
  endpoint_id uuid        not null constraint webhook_deliveries_fk_endpoints references makeready.webhook_endpoints on delete cascade,
  event_type  text        not null,
  content     text        not null constraint webhook_deliveries_content_is_small check (octet_length(content) <= 16384),
  state       text        not null constraint webhook_deliveries_state_is_known check (state in ('pending', 'delivered', 'failed')),
  job_id      uuid,
  tries       jsonb       not null default '[]',
  try_count   integer     not null default 0,
  last_error  jsonb,
  created_at  timestamptz not null,
  finished_at timestamptz,
  constraint webhook_deliveries_finished_at_iff_ended check ((finished_at is not null) = (state <> 'pending'))
) with (fillfactor = 80);
create index if not exists webhook_deliveries_of_endpoint on makeready.webhook_deliveries (endpoint_id, id);
create index if not exists webhook_deliveries_oldest on makeready.webhook_deliveries (created_at);
create index if not exists webhook_deliveries_without_job on makeready.webhook_deliveries (created_at) where state = 'pending' and job_id is null;
comment on table makeready.webhook_deliveries is 'The outbox: what is to be told to whom, written in the transaction that it tells of.';
comment on column makeready.webhook_deliveries.id is 'The webhook-id of the message: the same at every attempt.';
comment on column makeready.webhook_deliveries.endpoint_id is 'The endpoint.';
comment on column makeready.webhook_deliveries.event_type is 'What happened.';
comment on column makeready.webhook_deliveries.content is 'The text that is sent, to the byte: ids and states, never a link.';
comment on column makeready.webhook_deliveries.state is 'pending: being tried. delivered: taken with a 2xx. failed: given up.';
comment on column makeready.webhook_deliveries.job_id is 'The job that sends it; null: it could not be added yet, the chore webhooks_sweep does it.';
comment on column makeready.webhook_deliveries.tries is 'The last 20 attempts: at, status, ms, error.';
comment on column makeready.webhook_deliveries.try_count is 'Attempts that reached the point of sending.';
comment on column makeready.webhook_deliveries.last_error is 'Why the last attempt failed, or why it was given up.';
comment on column makeready.webhook_deliveries.created_at is 'When it happened.';
comment on column makeready.webhook_deliveries.finished_at is 'When it was taken or given up.';

create or replace function makeready.refuse_webhook(hook uuid)
  returns void language plpgsql volatile security definer set search_path = ''
as $$
begin
  raise exception 'there is no webhook % of yours', coalesce(hook::text, 'null')
    using errcode = 'MR404', detail = json_build_object('code', 'webhook_not_found', 'webhook_id', hook),
          hint = 'One that belongs to somebody else looks the same as one that does not exist.';
end
$$;
comment on function makeready.refuse_webhook(uuid) is 'Raises MR404 for an endpoint that is unknown or not the caller''s.';

create or replace function makeready.webhook_key()
  returns bytea language sql volatile security definer set search_path = ''
as $$ select sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) $$;
comment on function makeready.webhook_key() is 'A new key of 32 bytes. Internal: it never is a parameter, so no log of statements can hold it.';

create or replace function makeready.webhook_create(person uuid, address text, event_list text[], request_key text default null)
  returns table (verdict text, hook uuid, shown_once text)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_verdict text := 'created';
  v_hook    uuid := makeready.uuid7();
  v_key     bytea := makeready.webhook_key();
begin
  if request_key is not null then
    select t.verdict, t.target_id into v_verdict, v_hook
      from makeready.request_take('user:' || person, 'webhook_create', request_key,
             sha256(convert_to(concat_ws(' ', address, event_list), 'UTF8')), 'deliver', v_hook) t;
  end if;
  if v_verdict <> 'created' then
    -- Who repeats a request has lost its answer, and the secret with it.
    select s.secret into v_key from makeready.webhook_secrets s join makeready.webhook_endpoints e on e.id = s.endpoint_id
     where e.id = v_hook and e.user_id = person;
    if not found then
      perform makeready.refuse_webhook(v_hook);
    end if;
    return query select v_verdict, v_hook, 'whsec_' || encode(v_key, 'base64');
    return;
  end if;
  perform 1 from makeready.users u where u.id = person and u.disabled_at is null for no key update;      -- two at once are counted one after the other
  if not found then
    raise exception 'there is no active user %', coalesce(person::text, 'null')
      using errcode = 'MR404', detail = json_build_object('code', 'user_not_found', 'user_id', person), hint = 'Make one by makeready.user_create.';
  end if;
  if (select count(*) from makeready.webhook_endpoints e where e.user_id = person) >= 10 then
    raise exception 'you have 10 webhooks'
      using errcode = 'MR409', detail = json_build_object('code', 'conflict', 'reason', 'too_many_webhooks', 'limit', 10),
            hint = 'Delete one that you no longer need.';
  end if;
  insert into makeready.webhook_endpoints (id, user_id, url, events, created_at)
  values (v_hook, person, address, event_list, makeready.now());
  insert into makeready.webhook_secrets (endpoint_id, secret) values (v_hook, v_key);
  return query select v_verdict, v_hook, 'whsec_' || encode(v_key, 'base64');
exception when check_violation or not_null_violation then
  raise exception 'this is no webhook: %', sqlerrm
    using errcode = 'MR422', detail = json_build_object('code', 'validation_failed'),
          hint = 'A URL of at most 2,000 characters, and at least one of render.ready, render.failed, pack.done, pack.bundled.';
end
$$;
comment on function makeready.webhook_create(uuid, text, text[], text) is
  'Registers an endpoint and returns its id and its secret, this once; again under the same request key it is the same endpoint. MR409 when the user has ten already.';

create or replace function makeready.webhook_list(person uuid)
  returns table (hook uuid, address text, event_list text[], stopped_at timestamptz, stopped_why text, given_up integer,
                 trouble_since timestamptz, made_at timestamptz)
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select e.id, e.url, e.events, e.disabled_at, e.disabled_why, e.failures, e.failing_since, e.created_at
    from makeready.webhook_endpoints e where e.user_id = webhook_list.person order by e.id
$$;
comment on function makeready.webhook_list(uuid) is 'A user''s endpoints, oldest first.';

create or replace function makeready.webhook_set(person uuid, hook uuid, event_list text[] default null, enabled boolean default null)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  update makeready.webhook_endpoints e
     set events = coalesce(event_list, e.events),
         disabled_at = case enabled when true then null when false then coalesce(e.disabled_at, makeready.now()) else e.disabled_at end,
         disabled_why = case enabled when true then null when false then coalesce(e.disabled_why, 'owner') else e.disabled_why end,
         failures = case enabled when true then 0 else e.failures end,
         failing_since = case enabled when true then null else e.failing_since end
   where e.id = hook and e.user_id = person;
  if not found then
    perform makeready.refuse_webhook(hook);
  end if;
exception when check_violation then
  raise exception 'this is no webhook: %', sqlerrm
    using errcode = 'MR422', detail = json_build_object('code', 'validation_failed'),
          hint = 'At least one of render.ready, render.failed, pack.done, pack.bundled.';
end
$$;
comment on function makeready.webhook_set(uuid, uuid, text[], boolean) is
  'Changes what an endpoint wants, or whether it is sent anything; enabling it forgets its failures. MR404: not yours.';

create or replace function makeready.webhook_rotate(person uuid, hook uuid, overlap interval default '24 hours')
  returns text
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_key bytea := makeready.webhook_key();
begin
  update makeready.webhook_secrets s
     set former = s.secret, former_until = makeready.now() + overlap, secret = v_key
    from makeready.webhook_endpoints e
   where e.id = s.endpoint_id and e.id = hook and e.user_id = person;
  if not found then
    perform makeready.refuse_webhook(hook);
  end if;
  return 'whsec_' || encode(v_key, 'base64');
end
$$;
comment on function makeready.webhook_rotate(uuid, uuid, interval) is
  'Makes a new secret and returns it, this once; the one before signs too until the overlap is over. MR404: not yours.';

create or replace function makeready.webhook_delete(person uuid, hook uuid)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  delete from makeready.webhook_endpoints e where e.id = hook and e.user_id = person;
  if not found then
    perform makeready.refuse_webhook(hook);
  end if;
end
$$;
comment on function makeready.webhook_delete(uuid, uuid) is
  'Forgets an endpoint, its secret and its deliveries; what is on its way is not sent again. MR404: not yours.';

create or replace function makeready.webhook_tries(person uuid, hook uuid, max_rows integer default 50, older_than uuid default null)
  returns table (delivery uuid, what text, public_state text, tries_made integer, last_tries jsonb, problem jsonb,
                 happened_at timestamptz, ended_at timestamptz, next_try_at timestamptz)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  if not exists (select from makeready.webhook_endpoints e where e.id = hook and e.user_id = person) then
    perform makeready.refuse_webhook(hook);
  end if;
  return query
    select d.id, d.event_type, d.state, d.try_count, d.tries, d.last_error, d.created_at, d.finished_at,
           case when d.state = 'pending' then j.run_at end
      from makeready.webhook_deliveries d
      left join makeready.jobs j on j.queue = 'deliver' and j.id = d.job_id and j.state in ('waiting', 'queued')
     where d.endpoint_id = hook and (older_than is null or d.id < older_than)
     order by d.id desc
     limit max_rows;
end
$$;
comment on function makeready.webhook_tries(uuid, uuid, integer, uuid) is
  'What was and is to be sent to a user''s endpoint, newest first: attempts, answers, the next try. MR404: not yours.';

create or replace function makeready.webhook_retry(person uuid, hook uuid, delivery uuid)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_delivery makeready.webhook_deliveries;
  v_hook     makeready.webhook_endpoints;
begin
  select * into v_hook from makeready.webhook_endpoints e where e.id = hook and e.user_id = person for no key update;
  if not found then
    perform makeready.refuse_webhook(hook);
  end if;
  select * into v_delivery from makeready.webhook_deliveries d where d.id = delivery and d.endpoint_id = hook for no key update;
  if not found then
    raise exception 'webhook % has no delivery %', hook, coalesce(delivery::text, 'null')
      using errcode = 'MR404', detail = json_build_object('code', 'delivery_not_found', 'delivery_id', delivery),
            hint = 'Old ones are deleted: see makeready.retention.';
  end if;
  if v_delivery.state = 'pending' or v_hook.disabled_at is not null then
    raise exception 'delivery % cannot be retried: %', delivery,
          case when v_hook.disabled_at is null then 'it is being tried' else 'its webhook is disabled' end
      using errcode = 'MR409',
            detail = json_build_object('code', 'conflict', 'reason', case when v_hook.disabled_at is null then 'pending' else 'disabled' end),
            hint = 'Enable the webhook first, or wait for the next try.';
  end if;
  update makeready.webhook_deliveries d set state = 'pending', finished_at = null, job_id = null where d.id = delivery;
  perform makeready.webhook_enqueue(person, delivery, v_hook.failing_since is not null);
end
$$;
comment on function makeready.webhook_retry(uuid, uuid, uuid) is
  'Sends an ended delivery again, with its id and its text, with all its attempts before it. MR409: it is being tried, or the endpoint is disabled.';

create or replace function makeready.webhook_enqueue(person uuid, delivery uuid, struggles boolean)
  returns boolean
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_job uuid;
begin
  -- An endpoint that fails waits in a lane of its own: it must not hold up those of others.
  v_job := makeready.enqueue('deliver', jsonb_build_object('kind', 'webhook', 'delivery_id', delivery), owner_key => person::text,
                             lane_name => case when struggles then 'struggling' else '' end);
  update makeready.webhook_deliveries d set job_id = v_job where d.id = delivery;
  return true;
exception when others then
  -- The queue is closed, say: what happened stays told of, and the sweep adds the job.
  raise warning 'delivery % waits for the sweep: % (%)', delivery, sqlerrm, sqlstate;
  return false;
end
$$;
comment on function makeready.webhook_enqueue(uuid, uuid, boolean) is
  'Adds the job that sends a delivery; false when that is not possible now. It never raises: the end of a render must not depend on it. Internal.';

create or replace function makeready.webhook_emit(person uuid, event_name text, facts jsonb)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_hook     record;
  v_delivery uuid;
  v_now      timestamptz;
  v_count    integer := 0;
begin
  for v_hook in
    -- Locked against deletion until this commits; one that was deleted at this moment is skipped.
    select e.id, e.failing_since from makeready.webhook_endpoints e join makeready.users u on u.id = e.user_id
     where e.user_id = person and e.disabled_at is null and event_name = any (e.events) and u.disabled_at is null
     order by e.id for key share of e
  loop
    v_now := coalesce(v_now, makeready.now());
    v_delivery := makeready.uuid7();
    insert into makeready.webhook_deliveries (id, endpoint_id, event_type, content, state, created_at)
    values (v_delivery, v_hook.id, event_name,
            json_build_object('type', event_name, 'timestamp', to_char(v_now at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                              'data', facts)::text, 'pending', v_now);
    perform makeready.webhook_enqueue(person, v_delivery, v_hook.failing_since is not null);
    v_count := v_count + 1;
  end loop;
  return v_count;
end
$$;
comment on function makeready.webhook_emit(uuid, text, jsonb) is
  'Writes an event into the outbox for every endpoint of the user that wants it, in the caller''s transaction; how many. Without an endpoint it costs one look-up.';
