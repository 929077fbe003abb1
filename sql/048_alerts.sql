-- Alerts: what a person should know of. Recorded first, in the transaction that noticed it; sent afterwards, if anywhere.

create table if not exists makeready.alerts (
  id         uuid        not null constraint alerts_pk primary key,
  severity   text        not null constraint alerts_severity_is_known check (severity in ('info', 'warning', 'error')),
  event      text        not null constraint alerts_event_is_a_word check (event ~ '^[a-z][a-z0-9_]{0,62}$'),
  context    jsonb       not null default '{}',
  request_id text,
  created_at timestamptz not null,
  acked_at   timestamptz,
  acked_by   text
);
create index if not exists alerts_newest on makeready.alerts (created_at, id);
comment on table makeready.alerts is 'What a person should know of.';
comment on column makeready.alerts.id is 'UUID version 7.';
comment on column makeready.alerts.severity is 'info, warning or error.';
comment on column makeready.alerts.event is 'What happened: a name of docs/reference/events.md.';
comment on column makeready.alerts.context is 'Ids and figures; never a presigned link or a secret.';
comment on column makeready.alerts.request_id is 'The request or job that noticed it.';
comment on column makeready.alerts.created_at is 'When it was recorded.';
comment on column makeready.alerts.acked_at is 'When somebody took note of it; null: nobody yet.';
comment on column makeready.alerts.acked_by is 'Who did.';

create or replace function makeready.alert(level text, about text, facts jsonb default '{}', from_request text default null)
  returns uuid
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  insert into makeready.alerts (id, severity, event, context, request_id, created_at)
  values (makeready.uuid7(), alert.level, alert.about, coalesce(alert.facts, '{}'),
          coalesce(alert.from_request, nullif(current_setting('makeready.request_id', true), '')), makeready.now())
  returning alerts.id
$$;
comment on function makeready.alert(text, text, jsonb, text) is
  'Records an alert in the caller''s transaction and returns its id.';

grant execute on function makeready.alert(text, text, jsonb, text) to makeready_http, makeready_worker, makeready_ops;
