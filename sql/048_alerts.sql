-- Alerts: what a person should know of. Recorded first, in the transaction that noticed it; sent afterwards, if anywhere.
--
-- Recording adds a job to the queue `deliver`, whose worker sends the alert to where the operator wants it, or finds that
-- nothing is configured and is done. Nothing here ever breaks the work that noticed something: what fails is a warning
-- in the log of the server. An alert holds ids and figures; what it is about is looked up by them.

create table if not exists makeready.alerts (
  id         uuid        not null constraint alerts_pk primary key,
  severity   text        not null constraint alerts_severity_is_known check (severity in ('info', 'warning', 'error')),
  event      text        not null constraint alerts_event_is_a_word check (event ~ '^[a-z][a-z0-9_]{0,62}$'),
  context    jsonb       not null default '{}',
  request_id text,
  created_at timestamptz not null,
  sent_at    timestamptz,
  acked_at   timestamptz,
  acked_by   text
);
alter table makeready.alerts add column if not exists sent_at timestamptz;
create index if not exists alerts_newest on makeready.alerts (created_at, id);
create index if not exists alerts_of_event on makeready.alerts (event, created_at);
comment on table makeready.alerts is 'What a person should know of.';
comment on column makeready.alerts.id is 'UUID version 7.';
comment on column makeready.alerts.severity is 'info, warning or error.';
comment on column makeready.alerts.event is 'What happened: a name of docs/reference/events.md.';
comment on column makeready.alerts.context is 'Ids and figures; never a presigned link or a secret.';
comment on column makeready.alerts.request_id is 'The request or job that noticed it.';
comment on column makeready.alerts.created_at is 'When it was recorded.';
comment on column makeready.alerts.sent_at is 'When it was sent; null: not yet, or nothing is configured.';
comment on column makeready.alerts.acked_at is 'When somebody took note of it; null: nobody yet.';
comment on column makeready.alerts.acked_by is 'Who did.';

create or replace function makeready.alert(level text, about text, facts jsonb default '{}', from_request text default null)
  returns uuid
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_alert uuid := makeready.uuid7();
begin
  begin
    insert into makeready.alerts (id, severity, event, context, request_id, created_at)
    values (v_alert, level, about, coalesce(facts, '{}'),
            coalesce(from_request, nullif(current_setting('makeready.request_id', true), '')), makeready.now());
  exception when others then
    raise warning 'the alert % cannot be recorded: % (%)', about, sqlerrm, sqlstate;
    return null;
  end;
  begin
    -- Where nobody works on that queue it must not gather for ever, and news of yesterday is none.
    perform makeready.enqueue('deliver', jsonb_build_object('kind', 'alert', 'alert_id', v_alert), lane_name => 'alerts', attempts => 5,
                              deadline => makeready.now() + interval '1 day');
  exception when others then
    raise warning 'the alert % cannot be sent: % (%)', v_alert, sqlerrm, sqlstate;      -- recorded it is
  end;
  return v_alert;
end
$$;
comment on function makeready.alert(text, text, jsonb, text) is
  'Records an alert in the caller''s transaction, has it sent after the commit, and returns its id. It never raises: null when it could not be recorded.';

create or replace function makeready.alert_unless_known(level text, about text, facts jsonb, from_request text, within interval)
  returns uuid
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  -- Two at the same moment may both record it; one outage still makes a handful of alerts, not one for each job.
  if exists (select from makeready.alerts a where a.event = about and a.created_at > makeready.now() - within limit 1) then
    return null;
  end if;
  return makeready.alert(level, about, facts, from_request);
end
$$;
comment on function makeready.alert_unless_known(text, text, jsonb, text, interval) is
  'alert, unless the same event was recorded within this time: for what every job meets alike. Null when it was, or could not be recorded.';

create or replace function makeready.alert_list(level text default null, about text default null, max_rows integer default 100,
    older_than uuid default null)
  returns table (alert_id uuid, how_severe text, what text, facts jsonb, from_request text, recorded_at timestamptz,
                 delivered_at timestamptz, noted_at timestamptz, noted_by text)
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select a.id, a.severity, a.event, a.context, a.request_id, a.created_at, a.sent_at, a.acked_at, a.acked_by
    from makeready.alerts a
   where (alert_list.level is null or a.severity = alert_list.level)
     and (alert_list.about is null or a.event = alert_list.about)
     and (alert_list.older_than is null or (a.created_at, a.id) < (
           select o.created_at, o.id from makeready.alerts o where o.id = alert_list.older_than))
   order by a.created_at desc, a.id desc
   limit alert_list.max_rows
$$;
comment on function makeready.alert_list(text, text, integer, uuid) is
  'Alerts, newest first; older_than is the last id of the page before.';

create or replace function makeready.alert_ack(alert uuid, because text default null)
  returns table (noted_at timestamptz, noted_by text)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_alert makeready.alerts;
begin
  select * into v_alert from makeready.alerts a where a.id = alert for no key update;
  if not found then
    raise exception 'there is no alert %', coalesce(alert::text, 'null')
      using errcode = 'MR404', detail = json_build_object('code', 'alert_not_found', 'alert_id', alert),
            hint = 'select id, event from makeready.alerts order by created_at desc lists them.';
  end if;
  if v_alert.acked_at is null then
    update makeready.alerts a
       set acked_at = makeready.now(), acked_by = makeready.acting_as()
     where a.id = alert returning * into v_alert;
    perform makeready.audit('alert_ack', alert::text, null, jsonb_build_object('event', v_alert.event), because);
  end if;
  return query select v_alert.acked_at, v_alert.acked_by;      -- whoever came first
end
$$;
comment on function makeready.alert_ack(uuid, text) is
  'Takes note of an alert; a second time it is still who took note first. MR404 when there is none.';

create or replace function makeready.alerts_purge(max_rows integer)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_before timestamptz := makeready.kept_since('alerts');
  v_count  integer;
begin
  delete from makeready.alerts a
   where a.id = any (array(select o.id from makeready.alerts o where o.created_at < v_before
                            order by o.created_at limit max_rows for update skip locked));
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
comment on function makeready.alerts_purge(integer) is 'Deletes alerts past their retention, noted or not.';

select makeready.retention_create('alerts', '90 days');
select makeready.chore_create('alerts_purge', '1 hour');

grant execute on function makeready.alert(text, text, jsonb, text) to makeready_http, makeready_worker, makeready_ops;
grant execute on function makeready.alert_unless_known(text, text, jsonb, text, interval) to makeready_http, makeready_worker, makeready_ops;
grant execute on function makeready.alert_list(text, text, integer, uuid) to makeready_http, makeready_ops;
grant execute on function makeready.alert_ack(uuid, text) to makeready_http, makeready_ops;
