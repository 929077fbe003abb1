-- Who may do what. PUBLIC may do nothing. Tables are written by nobody: the functions do, and each role calls its own.
--
--   makeready_app     an application of yours: enqueues and cancels in its own transactions, wakes, looks how jobs ended
--   makeready_http    enqueues, waits, cancels; reads what a person asks for through functions
--   makeready_worker  claims, beats, finishes, and keeps house
--   makeready_ops     everything an operator calls by hand, and reads all views and tables
--   makeready_read    reads all views and tables, for dashboards
--
-- A queue's own file grants its own functions.

revoke all on schema makeready from public;
grant usage on schema makeready to makeready_app, makeready_http, makeready_worker, makeready_ops, makeready_read;
do $$
declare
  v_function regprocedure;
begin
  -- PostgreSQL lets everybody execute a new function; a later file must not undo that by accident.
  for v_function in
    select p.oid::regprocedure from pg_catalog.pg_proc p
     where p.pronamespace = 'makeready'::regnamespace
       and (p.proacl is null or exists (select from aclexplode(p.proacl) a where a.grantee = 0))
  loop
    execute format('revoke all on function %s from public', v_function);
  end loop;
end $$;
-- For functions that later files make; without "in schema", since that form cannot take away what PUBLIC has by default.
alter default privileges revoke execute on functions from public;
alter default privileges in schema makeready grant select on tables to makeready_ops, makeready_read;

grant execute on function
  makeready.now(), makeready.uuid7(), makeready.wake(text), makeready.announce(text, uuid[]), makeready.peek(text, uuid[]),
  makeready.tick(), makeready.chore_run(text), makeready.chore_failed(text, text), makeready.why(uuid), makeready.is_open(text, uuid),
  makeready.session_key(uuid), makeready.chore_take(text), makeready.chore_done(text, integer, float8),
  makeready.files_unknown(text, text[]), makeready.files_purge_mark(integer, interval, text), makeready.files_purged(uuid[])
to makeready_http, makeready_worker, makeready_ops;

grant execute on function makeready.now(), makeready.uuid7(), makeready.wake(text), makeready.peek(text, uuid[]) to makeready_app;
grant execute on function
  makeready.enqueue(text, jsonb, uuid, integer, timestamptz, timestamptz, text, text, text, uuid, integer, boolean),
  makeready.enqueue_many(text, jsonb[], uuid[], integer, timestamptz, timestamptz, text, text, text, uuid, integer, boolean),
  makeready.enqueue_once(text, text, text, bytea, text, jsonb, uuid, integer, timestamptz, timestamptz, text, text, text, uuid, integer, boolean),
  makeready.request_take(text, text, text, bytea, text, uuid, interval),
  makeready.cancel(text, uuid, text), makeready.give_up(text, uuid, jsonb)
to makeready_app, makeready_http, makeready_worker, makeready_ops;

grant execute on function
  makeready.worker_register(uuid, text, text, integer, integer, text[], text, interval, boolean),
  makeready.worker_stopping(uuid), makeready.worker_leave(uuid), makeready.worker_strays(uuid, uuid[]), makeready.claim(text[], uuid, integer),
  makeready.finish(text, uuid, uuid, jsonb), makeready.finish_many(text, uuid[], uuid[], jsonb[]),
  makeready.finish_and_claim(text, uuid, uuid, jsonb, uuid, integer), makeready.fail(text, uuid, uuid, text, jsonb, interval),
  makeready.report(text, uuid, uuid, jsonb), makeready.beat(uuid, text[], uuid[], uuid[]), makeready.reap(integer, boolean, timestamptz)
to makeready_worker;

grant execute on function
  makeready.queue_set(text, text, text, text), makeready.queue_pause(text, text), makeready.queue_resume(text, text),
  makeready.queue_close(text, text), makeready.queue_open(text, text), makeready.queue_drain(text, text),
  makeready.lane_set(text, text, integer, text), makeready.chore_set(text, boolean, interval, text), makeready.retry(text, uuid, text),
  makeready.redrive(text, integer, text, boolean, text), makeready.job_evict(text, uuid, text),
  makeready.worker_evict(text, text), makeready.worker_drain(uuid, text), makeready.reap(integer, boolean, timestamptz), makeready.after_restore(text)
to makeready_ops;

-- A view calls its functions with the rights of whoever reads it.
grant execute on function makeready.now(), makeready.worker_is_lost(makeready.workers, timestamptz) to makeready_ops, makeready_read;

grant select on makeready.schema_files to makeready_http, makeready_worker;
grant select on all tables in schema makeready to makeready_ops, makeready_read;
-- Hashes of credentials are nobody's to read.
revoke select on makeready.tokens, makeready.staff_passwords, makeready.otp_codes, makeready.webhook_secrets,
  makeready.ingest_password, makeready.provider_keys from makeready_ops, makeready_read;
