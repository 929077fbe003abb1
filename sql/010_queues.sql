-- Queues, their policy, and the jobs.
--
-- A queue is a row of `queues` (its policy), two rows of `gates`, at least one row of `lanes`, and a partition of
-- `jobs` with storage settings of its own. A queue's own file creates the partition and calls `queue_create`;
-- nothing here names a queue. Policy is data: a change is effective at the next claim, no restart.
--
--   gate  the row that is locked before jobs are counted. It is never updated, so it never bloats.
--   seat  the number of a running job, 1 to max_in_flight, unique in its queue: a second, declarative guard.
--   lane  a share of a queue with a limit of its own (a provider). Every job is in a lane; '' is the default one.
--   host  a claim filter: '' runs anywhere, else only workers on that host take the job.
--   turn  place in line among equals. In a fair queue an owner's jobs are spread out, so that a thousand jobs of one
--         owner never starve the three of another.

create table if not exists makeready.queues (
  queue         text        not null constraint queues_pk primary key
                            constraint queues_name_is_a_word check (queue ~ '^[a-z][a-z0-9_]{0,39}$'),
  max_in_flight integer     constraint queues_max_in_flight_is_bounded check (max_in_flight between 0 and 1000),
  max_open      integer     constraint queues_max_open_is_positive check (max_open > 0),
  is_gated      boolean     not null default false,
  is_fair       boolean     not null default false,
  attempt_limit interval    not null default '5 minutes'
                            constraint queues_attempt_limit_is_positive check (attempt_limit > '0'),
  max_attempts  integer     not null default 5 constraint queues_max_attempts_is_positive check (max_attempts > 0),
  max_lost      integer     not null default 3 constraint queues_max_lost_is_positive check (max_lost > 0),
  retry_base    interval    not null default '1 second' constraint queues_retry_base_is_positive check (retry_base > '0'),
  retry_factor  float8      not null default 2 constraint queues_retry_factor_grows check (retry_factor between 1 and 10),
  retry_cap     interval    not null default '60 seconds' constraint queues_retry_cap_is_positive check (retry_cap > '0'),
  retry_jitter  float8      not null default 0.2 constraint queues_retry_jitter_is_a_share check (retry_jitter between 0 and 1),
  keep_done     interval    not null default '7 days' constraint queues_keep_done_is_positive check (keep_done >= '0'),
  keep_dead     interval    not null default '30 days' constraint queues_keep_dead_is_positive check (keep_dead >= '0'),
  keep_request  interval    not null default '24 hours' constraint queues_keep_request_is_positive check (keep_request > '0'),
  paused_at     timestamptz,
  closed_at     timestamptz,
  created_at    timestamptz not null
);
comment on table makeready.queues is 'Policy: one row a queue. Change it with makeready.queue_set, queue_pause, queue_close; each change is audited.';
comment on column makeready.queues.queue is 'Name: a lower-case word.';
comment on column makeready.queues.max_in_flight is 'Running jobs at any moment, over all workers. Null: no limit, and no gate, seat or count is paid for.';
comment on column makeready.queues.max_open is 'Waiting, queued and running jobs admitted; the next enqueue is refused with MR429. Null: no limit.';
comment on column makeready.queues.is_gated is 'Whether the queue or a lane of it has a limit, so that claims go through the gate. Follows from the limits.';
comment on column makeready.queues.is_fair is 'Owners take turns.';
comment on column makeready.queues.attempt_limit is 'How long one attempt may run, or go without a report of progress.';
comment on column makeready.queues.max_attempts is 'Failed attempts before a job is dead; a job may carry its own number.';
comment on column makeready.queues.max_lost is 'Lost leases before a job is dead: the job that kills its worker. Progress resets the count.';
comment on column makeready.queues.retry_base is 'Pause after the first failure.';
comment on column makeready.queues.retry_factor is 'Each further pause is this many times longer.';
comment on column makeready.queues.retry_cap is 'The longest pause.';
comment on column makeready.queues.retry_jitter is 'Share of a pause that is random: 0.2 shortens it by up to a fifth.';
comment on column makeready.queues.keep_done is 'How long done, cancelled and expired jobs stay.';
comment on column makeready.queues.keep_dead is 'How long dead jobs stay for retry.';
comment on column makeready.queues.keep_request is 'How long an idempotency key is remembered.';
comment on column makeready.queues.paused_at is 'Since when nothing is claimed; null: claims go on.';
comment on column makeready.queues.closed_at is 'Since when nothing is admitted; null: open.';
comment on column makeready.queues.created_at is 'When the queue was created.';

create table if not exists makeready.gates (
  queue text not null constraint gates_fk_queues references makeready.queues on delete cascade,
  kind  text not null constraint gates_kind_is_known check (kind in ('admit', 'claim')),
  constraint gates_pk primary key (queue, kind)
);
comment on table makeready.gates is 'Rows that are only ever locked: whoever holds one may count. Two a queue, so that a slow enqueue never blocks a claim.';
comment on column makeready.gates.queue is 'The queue.';
comment on column makeready.gates.kind is 'admit: before an enqueue counts open jobs. claim: before a claim counts running jobs.';

create table if not exists makeready.lanes (
  queue         text    not null constraint lanes_fk_queues references makeready.queues on delete cascade,
  lane          text    not null constraint lanes_name_is_short check (length(lane) <= 60),
  max_in_flight integer constraint lanes_max_in_flight_is_bounded check (max_in_flight between 0 and 1000),
  constraint lanes_pk primary key (queue, lane)
);
comment on table makeready.lanes is 'Shares of a queue with a limit of their own. Change them with makeready.lane_set.';
comment on column makeready.lanes.queue is 'The queue.';
comment on column makeready.lanes.lane is 'Name; the empty name is the default lane.';
comment on column makeready.lanes.max_in_flight is 'Running jobs of this lane at any moment. Null: only the queue''s limit holds.';

create table if not exists makeready.jobs (
  queue        text        not null,
  id           uuid        not null,
  state        text        not null,
  priority     smallint    not null default 0,
  turn         bigint      not null default 0,
  run_at       timestamptz not null,
  deadline_at  timestamptz,
  lane         text        not null default '',
  host         text        not null default '',
  owner        text        not null default '',
  batch        uuid,
  payload      jsonb       not null,
  progress     jsonb,
  result       jsonb,
  error        jsonb,
  attempt      integer     not null default 0,
  lost         integer     not null default 0,
  max_attempts integer,
  seat         integer,
  lease        uuid,
  final_lease  uuid,
  worker_id    uuid,
  run_until    timestamptz,
  cancel_at    timestamptz,
  created_at   timestamptz not null,
  started_at   timestamptz,
  finished_at  timestamptz,
  constraint jobs_pk primary key (queue, id),
  -- Few and whole: PostgreSQL parses each constraint anew for every statement that writes the table. Sizes are checked
  -- by the functions that take the values.
  constraint jobs_lease_iff_running check (case when state = 'running' then lease is not null and run_until is not null
                                                else lease is null and run_until is null and seat is null end),
  constraint jobs_finished_at_iff_ended check (case when state in ('done', 'dead', 'cancelled', 'expired') then finished_at is not null
                                                    else finished_at is null and state in ('waiting', 'queued', 'running') end),
  constraint jobs_error_if_dead check (state <> 'dead' or error is not null)
) partition by list (queue);
-- The door to Citus stays open: queue first in every key.
create index if not exists jobs_queued on makeready.jobs (queue, lane, host, priority, turn, run_at, id) where state = 'queued';
create index if not exists jobs_turn on makeready.jobs (queue, owner, lane, host, priority, turn) where state = 'queued' and turn > 0;
create index if not exists jobs_running on makeready.jobs (queue, worker_id) where state = 'running';
create unique index if not exists jobs_seat_is_unique on makeready.jobs (queue, seat) where state = 'running' and seat is not null;
create index if not exists jobs_waiting on makeready.jobs (queue, run_at) where state = 'waiting';
create index if not exists jobs_deadline on makeready.jobs (queue, deadline_at) where state in ('waiting', 'queued') and deadline_at is not null;
create index if not exists jobs_ended on makeready.jobs (queue, state, finished_at) where finished_at is not null;
create index if not exists jobs_batch on makeready.jobs (queue, batch) where batch is not null;
comment on table makeready.jobs is 'All jobs; one partition a queue. Written by the functions of this schema only.';
comment on column makeready.jobs.queue is 'The queue: the partition key.';
comment on column makeready.jobs.id is 'UUID version 7 made by whoever enqueues.';
comment on column makeready.jobs.state is 'waiting: not due. queued: to be claimed. running: under a lease. done, dead, cancelled, expired: ended.';
comment on column makeready.jobs.priority is 'Smaller first.';
comment on column makeready.jobs.turn is 'Place in line inside a priority, from 1 on in a fair queue; 0 in others.';
comment on column makeready.jobs.run_at is 'Not before this time.';
comment on column makeready.jobs.deadline_at is 'Never claimed and never finished after this time.';
comment on column makeready.jobs.lane is 'The lane, '''' for the default one.';
comment on column makeready.jobs.host is 'Only workers on this host; '''' for any.';
comment on column makeready.jobs.owner is 'Whose job it is, for fair turns; '''' for nobody''s.';
comment on column makeready.jobs.batch is 'What it belongs to: a pack, a generation.';
comment on column makeready.jobs.payload is 'What to do, for the handler. No bytes: those are in object storage.';
comment on column makeready.jobs.progress is 'The handler''s last report.';
comment on column makeready.jobs.result is 'What came out, at most 64 KiB.';
comment on column makeready.jobs.error is 'The last error: code, message, and what the handler added.';
comment on column makeready.jobs.attempt is 'Attempts counted so far; interrupted, snoozed and lost ones are given back.';
comment on column makeready.jobs.lost is 'Leases lost since the last progress.';
comment on column makeready.jobs.max_attempts is 'Overrides the queue''s max_attempts.';
comment on column makeready.jobs.seat is 'Number among the running jobs of a limited queue.';
comment on column makeready.jobs.lease is 'Random token of the current claim: the fence. A counter would repeat after a lossy fail-over.';
comment on column makeready.jobs.final_lease is 'The token that last ended an attempt: tells a repeated call from a stranger''s.';
comment on column makeready.jobs.worker_id is 'Who runs it, or ran it last.';
comment on column makeready.jobs.run_until is 'When the attempt has run too long.';
comment on column makeready.jobs.cancel_at is 'When its cancellation was asked for while it ran.';
comment on column makeready.jobs.created_at is 'When it was enqueued.';
comment on column makeready.jobs.started_at is 'When it was last claimed.';
comment on column makeready.jobs.finished_at is 'When it ended.';

create table if not exists makeready.attempts (
  id         bigint      not null generated always as identity constraint attempts_pk primary key,
  queue      text        not null,
  job_id     uuid        not null,
  attempt    integer     not null,
  outcome    text        not null constraint attempts_outcome_is_known
                         check (outcome in ('retry', 'dead', 'lost', 'interrupted', 'snooze', 'cancelled', 'expired')),
  error      jsonb,
  worker_id  uuid,
  started_at timestamptz,
  ended_at   timestamptz not null
);
create index if not exists attempts_of_job on makeready.attempts (queue, job_id, id);
create index if not exists attempts_recent on makeready.attempts (queue, ended_at);
comment on table makeready.attempts is 'Attempts that did not end in done; the one that did is on the job itself, so that success writes one row.';
comment on column makeready.attempts.id is 'Order of entry.';
comment on column makeready.attempts.queue is 'The job''s queue.';
comment on column makeready.attempts.job_id is 'The job; no foreign key, it would make claims wait for pruning.';
comment on column makeready.attempts.attempt is 'Number of the attempt when it ran.';
comment on column makeready.attempts.outcome is 'How it ended.';
comment on column makeready.attempts.error is 'What was wrong.';
comment on column makeready.attempts.worker_id is 'Who ran it.';
comment on column makeready.attempts.started_at is 'When it was claimed.';
comment on column makeready.attempts.ended_at is 'When it ended.';

create or replace function makeready.queue_policy(queue_name text)
  returns makeready.queues
  language plpgsql
  stable
  security definer
  set search_path = ''
as $$
declare
  v_policy makeready.queues;
begin
  select * into v_policy from makeready.queues q where q.queue = queue_name;
  if not found then
    raise exception 'there is no queue %', coalesce(quote_literal(queue_name), 'null')
      using errcode = 'MR404', detail = json_build_object('queue', queue_name),
            hint = 'select queue from makeready.queues lists them.';
  end if;
  return v_policy;
end
$$;
comment on function makeready.queue_policy(text) is 'The policy row of a queue; MR404 when there is none.';

create or replace function makeready.queue_create(queue_name text, settings jsonb default '{}')
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  -- A queue that exists keeps its policy: what operators have set wins over what a file says.
  insert into makeready.queues (queue, created_at) values (queue_name, makeready.now()) on conflict do nothing;
  if not found then
    return;
  end if;
  insert into makeready.gates (queue, kind) values (queue_name, 'admit'), (queue_name, 'claim');
  insert into makeready.lanes (queue, lane) values (queue_name, '');
  perform makeready.queue_apply(queue_name, s.key, s.value) from jsonb_each_text(settings) s;
end
$$;
comment on function makeready.queue_create(text, jsonb) is
  'Makes a queue known with its first policy. A queue that exists keeps the policy that operators gave it. Called by a queue''s SQL file.';

create or replace function makeready.queue_apply(queue_name text, setting text, new_value text)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  if setting is null or setting not in ('max_in_flight', 'max_open', 'is_fair', 'attempt_limit', 'max_attempts', 'max_lost', 'retry_base', 'retry_factor',
                     'retry_cap', 'retry_jitter', 'keep_done', 'keep_dead', 'keep_request') then
    raise exception 'a queue has no setting %', coalesce(quote_literal(setting), 'null')
      using errcode = 'MR422', detail = json_build_object('queue', queue_name, 'setting', setting),
            hint = 'The settings are columns of makeready.queues.';
  end if;
  update makeready.queues q
     set max_in_flight = case setting when 'max_in_flight' then new_value::integer  else q.max_in_flight end,
         max_open      = case setting when 'max_open'      then new_value::integer  else q.max_open      end,
         is_fair       = case setting when 'is_fair'       then new_value::boolean  else q.is_fair       end,
         attempt_limit = case setting when 'attempt_limit' then new_value::interval else q.attempt_limit end,
         max_attempts  = case setting when 'max_attempts'  then new_value::integer  else q.max_attempts  end,
         max_lost      = case setting when 'max_lost'      then new_value::integer  else q.max_lost      end,
         retry_base    = case setting when 'retry_base'    then new_value::interval else q.retry_base    end,
         retry_factor  = case setting when 'retry_factor'  then new_value::float8   else q.retry_factor  end,
         retry_cap     = case setting when 'retry_cap'     then new_value::interval else q.retry_cap     end,
         retry_jitter  = case setting when 'retry_jitter'  then new_value::float8   else q.retry_jitter  end,
         keep_done     = case setting when 'keep_done'     then new_value::interval else q.keep_done     end,
         keep_dead     = case setting when 'keep_dead'     then new_value::interval else q.keep_dead     end,
         keep_request  = case setting when 'keep_request'  then new_value::interval else q.keep_request  end
   where q.queue = queue_name;
  if setting = 'is_fair' and not new_value::boolean then
    -- What comes from now on has turn 0: all that came before would wait until nothing comes any more.
    update makeready.jobs j set turn = 0 where j.queue = queue_name and j.state in ('waiting', 'queued', 'running') and j.turn > 0;
  end if;
  perform makeready.queue_gate(queue_name);
exception when check_violation or not_null_violation or invalid_text_representation or invalid_datetime_format
            or numeric_value_out_of_range or datetime_field_overflow then
  raise exception '% is no value for % of queue %', coalesce(quote_literal(new_value), 'null'), setting, queue_name
    using errcode = 'MR422', detail = json_build_object('queue', queue_name, 'setting', setting, 'problem', sqlerrm),
          hint = 'comment on column makeready.queues.* tells what each means; \d+ makeready.queues shows it.';
end
$$;
comment on function makeready.queue_apply(text, text, text) is 'Writes one setting of a queue, checked. Internal: operators call queue_set.';

create or replace function makeready.queue_gate(queue_name text)
  returns void language sql volatile security definer set search_path = ''
as $$
  update makeready.queues q
     set is_gated = q.max_in_flight is not null
                 or exists (select from makeready.lanes l where l.queue = q.queue and l.max_in_flight is not null)
   where q.queue = queue_name
$$;
comment on function makeready.queue_gate(text) is 'Derives is_gated from the limits. Internal: whoever changes a limit calls it.';

create or replace function makeready.queue_set(queue_name text, setting text, new_value text, because text default null)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_old makeready.queues;
begin
  -- Behind the gates: a claim or enqueue that read the old limit has committed before the new one is in force.
  perform 1 from makeready.gates g where g.queue = queue_name order by g.kind for no key update;
  v_old := makeready.queue_policy(queue_name);
  perform makeready.queue_apply(queue_name, setting, new_value);
  perform makeready.audit('queue_set', queue_name, jsonb_build_object(setting, to_jsonb(v_old) -> setting),
                          jsonb_build_object(setting, to_jsonb(makeready.queue_policy(queue_name)) -> setting), because);
  perform makeready.wake(queue_name);
end
$$;
comment on function makeready.queue_set(text, text, text, text) is
  'Changes one setting of a queue from the next claim or enqueue on: queue_set(''render'', ''max_in_flight'', ''8'', ''new machine''). Null takes a limit away.';

create or replace function makeready.queue_switch(queue_name text, switch text, is_on boolean, because text)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_old makeready.queues;
  v_now timestamptz;
begin
  perform 1 from makeready.gates g where g.queue = queue_name order by g.kind for no key update;
  v_old := makeready.queue_policy(queue_name);
  v_now := makeready.now();
  update makeready.queues q
     set paused_at = case when switch = 'pause' then case when is_on then coalesce(q.paused_at, v_now) end else q.paused_at end,
         closed_at = case when switch = 'close' then case when is_on then coalesce(q.closed_at, v_now) end else q.closed_at end
   where q.queue = queue_name;
  perform makeready.audit('queue_' || switch, queue_name,
                          jsonb_build_object('paused_at', v_old.paused_at, 'closed_at', v_old.closed_at),
                          jsonb_build_object(switch, is_on), because);
  if not is_on then
    perform makeready.wake(queue_name);
  end if;
end
$$;
comment on function makeready.queue_switch(text, text, boolean, text) is 'Sets or clears paused_at or closed_at, audited. Internal.';

create or replace function makeready.queue_pause(queue_name text, because text default null)
  returns void language sql volatile security definer set search_path = ''
as $$ select makeready.queue_switch(queue_name, 'pause', true, because) $$;
comment on function makeready.queue_pause(text, text) is 'Nothing of the queue is claimed any more; what runs goes on, what comes is admitted.';

create or replace function makeready.queue_resume(queue_name text, because text default null)
  returns void language sql volatile security definer set search_path = ''
as $$ select makeready.queue_switch(queue_name, 'pause', false, because) $$;
comment on function makeready.queue_resume(text, text) is 'Ends a pause and wakes the workers.';

create or replace function makeready.queue_close(queue_name text, because text default null)
  returns void language sql volatile security definer set search_path = ''
as $$ select makeready.queue_switch(queue_name, 'close', true, because) $$;
comment on function makeready.queue_close(text, text) is 'Nothing is admitted any more (MR503); what is there is worked off.';

create or replace function makeready.queue_open(queue_name text, because text default null)
  returns void language sql volatile security definer set search_path = ''
as $$ select makeready.queue_switch(queue_name, 'close', false, because) $$;
comment on function makeready.queue_open(text, text) is 'Admits again after queue_close or queue_drain.';

create or replace function makeready.queue_drain(queue_name text, because text default null)
  returns bigint
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  perform makeready.queue_switch(queue_name, 'close', true, because);
  return (select count(*) from makeready.jobs j where j.queue = queue_name and j.state in ('waiting', 'queued', 'running'));
end
$$;
comment on function makeready.queue_drain(text, text) is 'Closes the queue and returns how many jobs are still open. Call it again until it says 0.';

create or replace function makeready.lane_set(queue_name text, lane_name text, seats integer default null, because text default null)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_policy makeready.queues := makeready.queue_policy(queue_name);
  v_old    integer;
begin
  if seats not between 0 and 1000 or length(lane_name) > 60 then
    raise exception 'lane % of queue % cannot have % seats', quote_literal(lane_name), queue_name, seats
      using errcode = 'MR422', detail = json_build_object('queue', queue_name, 'lane', lane_name, 'seats', seats),
            hint = 'A lane has a name of at most 60 characters and 0 to 1000 seats; null is no limit.';
  end if;
  perform 1 from makeready.gates g where g.queue = queue_name order by g.kind for no key update;
  select l.max_in_flight into v_old from makeready.lanes l where l.queue = queue_name and l.lane = lane_name;
  insert into makeready.lanes as l (queue, lane, max_in_flight) values (v_policy.queue, lane_name, seats)
  on conflict on constraint lanes_pk do update set max_in_flight = excluded.max_in_flight;
  perform makeready.queue_gate(queue_name);
  perform makeready.audit('lane_set', queue_name || '/' || lane_name, jsonb_build_object('max_in_flight', v_old),
                          jsonb_build_object('max_in_flight', seats), because);
  perform makeready.wake(queue_name);
end
$$;
comment on function makeready.lane_set(text, text, integer, text) is 'Creates a lane or changes its limit: lane_set(''ingest'', ''gemini'', 4). Null seats: no limit of its own.';
