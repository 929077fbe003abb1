-- Retention: how long what is neither a job nor a user's own stays. Policy is data, as for queues.

create table if not exists makeready.retention (
  subject  text     not null constraint retention_pk primary key
                    constraint retention_subject_is_a_word check (subject ~ '^[a-z][a-z0-9_]{0,62}$'),
  keep_for interval not null constraint retention_keep_for_is_not_negative check (keep_for >= '0')
);
comment on table makeready.retention is 'How long records stay that are no jobs. Change it with makeready.retention_set; each change is audited.';
comment on column makeready.retention.subject is 'What is kept; the chore <subject>_purge deletes what is older.';
comment on column makeready.retention.keep_for is 'How long.';

create or replace function makeready.retention_create(subject_name text, period interval)
  returns void language sql volatile security definer set search_path = ''
as $$ insert into makeready.retention (subject, keep_for) values (subject_name, period) on conflict do nothing $$;
comment on function makeready.retention_create(text, interval) is
  'Makes a subject known with its first period. One that exists keeps what operators gave it. Called by SQL files.';

create or replace function makeready.retention_set(subject_name text, period interval, because text default null)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_old interval;
begin
  if period is null or period < '0' or period > '100 years' then
    raise exception 'nothing can be kept for %', coalesce(period::text, 'null')
      using errcode = 'MR422', detail = json_build_object('subject', subject_name), hint = 'An interval from 0 on.';
  end if;
  select r.keep_for into v_old from makeready.retention r where r.subject = subject_name for no key update;
  if not found then
    raise exception 'there is no retention of %', coalesce(quote_literal(subject_name), 'null')
      using errcode = 'MR404', detail = json_build_object('subject', subject_name),
            hint = 'select subject from makeready.retention lists them; what queues keep is set by queue_set.';
  end if;
  update makeready.retention r set keep_for = period where r.subject = subject_name;
  perform makeready.audit('retention_set', subject_name, jsonb_build_object('keep_for', v_old), jsonb_build_object('keep_for', period), because);
end
$$;
comment on function makeready.retention_set(text, interval, text) is
  'Changes how long something is kept, from the next purge on: retention_set(''alerts'', ''30 days'', ''as agreed'').';

create or replace function makeready.kept_since(subject_name text)
  returns timestamptz language sql volatile security definer set search_path = ''
as $$ select makeready.now() - r.keep_for from makeready.retention r where r.subject = subject_name $$;
comment on function makeready.kept_since(text) is 'What is older than this may go. Internal: the purges call it.';

grant execute on function makeready.retention_set(text, interval, text) to makeready_ops;
