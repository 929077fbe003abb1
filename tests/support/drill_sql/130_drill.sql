-- A whole queue of its own, as a fourth one would be added: this file and one handler (tests/support/drill.py).

create table if not exists makeready.drill_jobs partition of makeready.jobs for values in ('drill') with (fillfactor = 70);
select makeready.queue_create('drill', '{"retry_base": "100 milliseconds", "retry_jitter": 0}');

create table if not exists makeready.drill_starts (
  id     bigint generated always as identity constraint drill_starts_pk primary key,
  job_id uuid        not null,
  token  uuid        not null,
  pid    integer     not null,
  at     timestamptz not null
);
create table if not exists makeready.drill_results (
  id     bigint generated always as identity constraint drill_results_pk primary key,
  job_id uuid        not null,
  token  uuid        not null,
  at     timestamptz not null
);

create or replace function makeready.drill_start(job uuid, lease_token uuid, process_id integer)
  returns void language sql volatile security definer set search_path = ''
as $$ insert into makeready.drill_starts (job_id, token, pid, at) values (job, lease_token, process_id, makeready.now()) $$;

create or replace function makeready.drill_finish(job uuid, lease_token uuid, outcome jsonb)
  returns text
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_verdict text := makeready.finish('drill', job, lease_token, outcome);
begin
  if v_verdict = 'ok' then
    insert into makeready.drill_results (job_id, token, at) values (job, lease_token, makeready.now());
  end if;
  return v_verdict;
end
$$;

revoke all on function makeready.drill_start(uuid, uuid, integer), makeready.drill_finish(uuid, uuid, jsonb) from public;
grant execute on function makeready.drill_start(uuid, uuid, integer), makeready.drill_finish(uuid, uuid, jsonb) to makeready_worker;
