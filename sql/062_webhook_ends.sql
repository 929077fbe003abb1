-- Webhooks, sending: what a worker reads and writes of a delivery, and what keeps the outbox small. See 060_webhooks.

create or replace function makeready.webhook_input(delivery uuid)
  returns table (endpoint uuid, address text, message text, signing_keys bytea[], is_stopped boolean)
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select e.id, e.url, d.content,
         case when s.former_until > makeready.now() then array[s.secret, s.former] else array[s.secret] end,
         e.disabled_at is not null or u.disabled_at is not null
    from makeready.webhook_deliveries d
    join makeready.webhook_endpoints e on e.id = d.endpoint_id
    join makeready.users u on u.id = e.user_id
    join makeready.webhook_secrets s on s.endpoint_id = e.id
   where d.id = webhook_input.delivery and d.state = 'pending'
$$;
comment on function makeready.webhook_input(uuid) is
  'What to send where, and the keys that sign it: for workers alone. No row: its endpoint was deleted, or it has ended.';

create or replace function makeready.webhook_tried(delivery uuid, http_status integer, milliseconds float8, problem jsonb)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_now timestamptz := makeready.now();
begin
  if problem is not null then
    update makeready.webhook_endpoints e set failing_since = v_now
      from makeready.webhook_deliveries d where d.id = delivery and e.id = d.endpoint_id and e.failing_since is null;
  end if;
  update makeready.webhook_deliveries d
     set try_count = d.try_count + 1, last_error = problem,
         tries = (case when jsonb_array_length(d.tries) >= 20 then d.tries - 0 else d.tries end)
                 || jsonb_build_array(jsonb_build_object('at', v_now, 'status', http_status, 'ms', milliseconds,
                                                         'error', problem ->> 'code'))
   where d.id = delivery;
end
$$;
comment on function makeready.webhook_tried(uuid, integer, float8, jsonb) is
  'Notes one attempt at a delivery: the answer, and what was wrong with it, if anything.';

create or replace function makeready.webhook_delivered(job uuid, token uuid, delivery uuid, http_status integer, milliseconds float8)
  returns text
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_verdict text;
begin
  v_verdict := makeready.finish('deliver', job, token, jsonb_build_object('status', http_status));
  if v_verdict <> 'ok' then
    return v_verdict;
  end if;
  update makeready.webhook_endpoints e set failures = 0, failing_since = null
    from makeready.webhook_deliveries d
   where d.id = delivery and e.id = d.endpoint_id and (e.failures > 0 or e.failing_since is not null);
  perform makeready.webhook_tried(delivery, http_status, milliseconds, null);
  update makeready.webhook_deliveries d set state = 'delivered', finished_at = makeready.now() where d.id = delivery and d.state = 'pending';
  return v_verdict;
end
$$;
comment on function makeready.webhook_delivered(uuid, uuid, uuid, integer, float8) is
  'Ends a delivery that the receiver took: the job, the delivery, the endpoint''s failures. ok, or repeat when this lease has done so before. MR001: the lease is lost.';

create or replace function makeready.webhook_given_up(delivery uuid, problem jsonb)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_now  timestamptz := makeready.now();
  v_hook makeready.webhook_endpoints;
  v_why  text;
begin
  select e.* into v_hook from makeready.webhook_endpoints e join makeready.webhook_deliveries d on d.endpoint_id = e.id
   where d.id = delivery for no key update of e;
  if not found then
    return;                    -- deleted meanwhile, with all its deliveries
  end if;
  update makeready.webhook_deliveries d set state = 'failed', finished_at = v_now, last_error = problem
   where d.id = delivery and d.state = 'pending';
  if not found or v_hook.disabled_at is not null then
    return;
  end if;
  -- A receiver that is down for a night keeps its endpoint; one that takes nothing for a day loses it.
  v_why := case when problem ->> 'code' = 'ENDPOINT_GONE' then 'gone'
                when v_hook.failures >= 4 and v_hook.failing_since < v_now - interval '1 day' then 'failing' end;
  update makeready.webhook_endpoints e
     set failures = e.failures + 1, disabled_why = v_why, disabled_at = case when v_why is not null then v_now end
   where e.id = v_hook.id;
  if v_why is not null then
    perform makeready.alert('warning', 'webhook_endpoint_disabled',
                            jsonb_build_object('webhook_id', v_hook.id, 'user_id', v_hook.user_id, 'reason', v_why), delivery::text);
  end if;
end
$$;
comment on function makeready.webhook_given_up(uuid, jsonb) is
  'Ends a delivery that nobody took. A receiver that is gone, or has let five in a row and a whole day pass, is disabled, with an alert. Internal: the end of a job calls it.';

create or replace function makeready.webhooks_sweep(max_rows integer)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_left  record;
  v_count integer := 0;
begin
  for v_left in
    select d.id, e.user_id, e.failing_since
      from makeready.webhook_deliveries d join makeready.webhook_endpoints e on e.id = d.endpoint_id
     where d.state = 'pending' and d.job_id is null order by d.created_at limit max_rows for no key update of d skip locked
  loop
    exit when not makeready.webhook_enqueue(v_left.user_id, v_left.id, v_left.failing_since is not null);
    v_count := v_count + 1;
  end loop;
  return v_count;
end
$$;
comment on function makeready.webhooks_sweep(integer) is
  'Adds the jobs of deliveries that got none, because the queue was closed at the time.';

create or replace function makeready.webhook_deliveries_purge(max_rows integer)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_before timestamptz := makeready.kept_since('webhook_deliveries');
  v_count  integer;
begin
  delete from makeready.webhook_deliveries d
   where d.id = any (array(select o.id from makeready.webhook_deliveries o where o.created_at < v_before and o.state <> 'pending'
                            order by o.created_at limit max_rows for update skip locked));
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
comment on function makeready.webhook_deliveries_purge(integer) is 'Deletes ended deliveries past their retention.';

create or replace view makeready.webhook_overview as
  select e.id as endpoint, e.user_id, substring(e.url from '^https?://(?:[^/@]*@)?([^/?#]+)') as host, e.events, e.created_at,
         e.disabled_at, e.disabled_why, e.failures, e.failing_since,
         (select count(*) from (select from makeready.webhook_deliveries d
                                 where d.endpoint_id = e.id and d.state = 'pending' limit 1000) p) as pending,
         l.state as last_state, l.created_at as last_event_at, l.last_error ->> 'code' as last_error
    from makeready.webhook_endpoints e
    left join lateral (select * from makeready.webhook_deliveries d where d.endpoint_id = e.id order by d.id desc limit 1) l on true;
comment on view makeready.webhook_overview is 'Endpoints at a glance: whose, which host, what is pending, how the last delivery stands.';

select makeready.retention_create('webhook_deliveries', '30 days');
select makeready.chore_create('webhook_deliveries_purge', '10 minutes');
select makeready.chore_create('webhooks_sweep', '30 seconds');

grant execute on function makeready.webhook_create(uuid, text, text[], text) to makeready_http;
grant execute on function makeready.webhook_list(uuid) to makeready_http;
grant execute on function makeready.webhook_set(uuid, uuid, text[], boolean) to makeready_http;
grant execute on function makeready.webhook_rotate(uuid, uuid, interval) to makeready_http;
grant execute on function makeready.webhook_delete(uuid, uuid) to makeready_http;
grant execute on function makeready.webhook_tries(uuid, uuid, integer, uuid) to makeready_http;
grant execute on function makeready.webhook_retry(uuid, uuid, uuid) to makeready_http;
grant execute on function makeready.webhook_input(uuid) to makeready_worker;
grant execute on function makeready.webhook_tried(uuid, integer, float8, jsonb) to makeready_worker;
grant execute on function makeready.webhook_delivered(uuid, uuid, uuid, integer, float8) to makeready_worker;
