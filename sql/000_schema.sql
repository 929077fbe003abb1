-- Makeready's database.
--
-- A *job* is a row of `makeready.jobs`, partitioned by *queue*. It is enqueued in its caller's transaction, claimed
-- by a *worker* (a process) under a *lease* (a random token), and ends exactly once. What a job is about lives in the
-- tables of its queue; a job knows its queue, its place in line and its lease, nothing else.
--
--   waiting ──► queued ──► running ──► done
--      ▲           ▲          │  ├────► dead        attempts or losses used up, or a fatal error
--      │           └──────────┤  ├────► cancelled
--      └── retry, snooze ─────┘  └────► expired     the deadline passed first
--
-- Guarantees, each held by a function of this schema and by nobody else:
--   * at no moment more running jobs than the highest limit in force since the oldest of them was claimed;
--   * whoever does not hold the lease changes nothing (SQLSTATE MR001);
--   * an end is final: no late result overwrites a timeout; only an operator's retry opens a job again.
--
-- Files below 100 are the core, from 100 on come the queues, 900 is for operators, 990 the grants. Every statement
-- may run again. Functions are SECURITY DEFINER and belong to makeready_owner, who cannot log in: nobody else can
-- write a job. `search_path` is pinned in each.

do $$
declare
  v_role text;
begin
  foreach v_role in array array['makeready_app', 'makeready_http', 'makeready_worker', 'makeready_ops', 'makeready_read'] loop
    begin
      if not exists (select from pg_catalog.pg_roles where rolname = v_role) then
        reset role;                       -- the owner may not create roles; whoever migrates may
        execute format('create role %I nologin', v_role);
        set role makeready_owner;
      end if;
    exception when duplicate_object or unique_violation then
      null;                               -- another database of the cluster was faster
    end;
  end loop;
end $$;

-- Views show what other sessions do only to members of these; who migrates a managed server may not be able to grant them.
do $$
begin
  reset role;
  grant pg_read_all_stats to makeready_owner, makeready_ops, makeready_read;      -- a view asks as its reader
  grant pg_signal_backend to makeready_ops;
  set role makeready_owner;
exception when insufficient_privilege then
  raise notice 'not granted: pg_read_all_stats to makeready_owner, makeready_ops, makeready_read; pg_signal_backend to makeready_ops';
end $$;

comment on schema makeready is 'Makeready: jobs on nothing but PostgreSQL. Operators start with makeready.queue_overview and makeready.why(job).';

-- The one function with neither a pinned path nor definer's rights: so it is inlined where it is called. It is on every
-- hot path, often twice. Tests put one in its place that they can move; here nothing can.
create or replace function makeready.now()
  returns timestamptz
  language sql
  volatile
as $$
  select pg_catalog.clock_timestamp()
$$;
comment on function makeready.now() is
  'The only clock. Read it into a variable after a lock was granted.';

-- RFC 9562, section 5.7: 48 bits of Unix milliseconds, version 7, variant 2, the rest random.
create or replace function makeready.uuid7()
  returns uuid
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select encode(
           set_bit(
             set_bit(
               overlay(
                 uuid_send(gen_random_uuid())
                 placing substring(
                   int8send(floor(extract(epoch from clock_timestamp()) * 1000)::bigint)
                   from 3)
                 from 1 for 6),
               52, 1),
             53, 1),
           'hex')::uuid
$$;
comment on function makeready.uuid7() is 'A time-ordered id (UUID version 7) for callers that have no library for it.';

create or replace function makeready.refuse_unless_read_committed(caller text)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  -- With a frozen snapshot the count behind the lock is stale: 36 to 40 were admitted at a limit of 12.
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'makeready.% needs READ COMMITTED, this transaction is %', caller,
          upper(current_setting('transaction_isolation'))
      using errcode = 'MR010', hint = 'Call it in a transaction of its own, begun with READ COMMITTED.';
  end if;
end
$$;
comment on function makeready.refuse_unless_read_committed(text) is
  'Raises MR010 unless the transaction is READ COMMITTED: a limit is counted behind a lock and needs a fresh snapshot.';

create table if not exists makeready.audit_log (
  id         bigint      not null generated always as identity constraint audit_log_pk primary key,
  at         timestamptz not null,
  actor      text        not null,
  action     text        not null,
  target     text        not null,
  before     jsonb,
  after      jsonb,
  reason     text,
  request_id text,
  client_address text
);
alter table makeready.audit_log add column if not exists client_address text;
create index if not exists audit_log_recent on makeready.audit_log (target, id);
comment on table makeready.audit_log is 'Who changed what by hand: policy, pauses, retries, people. Append only; user_forget takes names out.';
comment on column makeready.audit_log.id is 'Order of entry.';
comment on column makeready.audit_log.at is 'When, by the database clock.';
comment on column makeready.audit_log.actor is 'The database user; before it, with via, whom the caller states in the setting makeready.actor.';
comment on column makeready.audit_log.action is 'Name of the function that did it.';
comment on column makeready.audit_log.target is 'What was changed: a queue, a lane, a job, a worker, a person.';
comment on column makeready.audit_log.before is 'The values before.';
comment on column makeready.audit_log.after is 'The values after.';
comment on column makeready.audit_log.reason is 'Why, in the words of whoever did it.';
comment on column makeready.audit_log.request_id is 'Setting makeready.request_id: the HTTP request, if it was one.';
comment on column makeready.audit_log.client_address is 'Setting makeready.address: where that request came from; of IPv6 the network of 64 bits.';

create or replace function makeready.audit(what text, about text, old_values jsonb, new_values jsonb, because text)
  returns void
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  insert into makeready.audit_log (at, actor, action, target, before, after, reason, request_id, client_address)
  values (makeready.now(),
          coalesce(nullif(current_setting('makeready.actor', true), '') || ' via ', '') || session_user,
          audit.what, audit.about, audit.old_values, audit.new_values, audit.because,
          nullif(current_setting('makeready.request_id', true), ''), nullif(current_setting('makeready.address', true), ''))
$$;
comment on function makeready.audit(text, text, jsonb, jsonb, text) is
  'Writes one line of the audit log. Called by every function that an operator calls, in its transaction.';

create or replace function makeready.acting_as()
  returns text
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select coalesce(nullif(current_setting('makeready.actor', true), ''), 'database:' || session_user)
$$;
comment on function makeready.acting_as() is 'Who acts in this transaction: a member of staff, or a user of the database.';
