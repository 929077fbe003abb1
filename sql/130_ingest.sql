-- Ingest: a photo that a booth posts, processed by a provider and answered in the same request.
--
-- A *photo* is a job of the queue `ingest` that somebody waits for; the job's id is the photo's, a random UUID made by the
-- process that waits, since links to results carry it. A *slot* says what is done with photos and by whom (132_slots), a
-- *provider* does it (131_providers). The slot's settings are frozen with the photo: what is edited later touches no photo
-- that is there.
--
--   photos        pending ──claimed──► processing ──► success
--                    │                     │
--                    └──────── end ────────┴────────► timeout, provider_error, cancelled
--
-- `processing` is read from the job, so nothing is written at a claim. Every end but success reaches the photo by one
-- trigger of the partition (137_ingest_ends). An end is final: not even an operator opens a photo again, for the booth has
-- printed the original long since.
--
-- The deadline is written once: photos.expires_at = created_at + sync_response_s = jobs.deadline_at. At that time the
-- booth is answered 504; what comes later is refused (MR001) and changes nothing. There is one attempt: whatever is worth
-- trying again is tried inside of it.
--
-- How durable it is: ingest_admit, ingest_claim, ingest_finish, ingest_end and ingest_answered do not wait for the disk,
-- unless ingest_policy.is_durable. A crash of the database cuts the waiting request off as well; what was committed in the
-- last moments before it (three times wal_writer_delay, 0.6 s) may be gone, but never half of it: a photo is there with its
-- job and its log, or not at all.
--
-- Locks are taken in one order: idempotency key, admission gate, job, photo.

create table if not exists makeready.ingest_jobs partition of makeready.jobs for values in ('ingest')
  with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
        autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
comment on table makeready.ingest_jobs is 'Jobs of the queue ingest: each processes one photo, whose id it has.';
-- One attempt, and none after a worker was lost. Twelve open at a time; how many run is up to the workers and the lanes.
select makeready.queue_create('ingest', '{"max_open": "12", "attempt_limit": "1 minute", "max_attempts": "1", "max_lost": "1",
                                          "keep_done": "1 day", "keep_dead": "1 day"}');

create table if not exists makeready.ingest_policy (
  only_row               boolean     not null default true constraint ingest_policy_pk primary key
                                     constraint ingest_policy_has_one_row check (only_row),
  sync_response_s        float8      not null default 48 constraint ingest_policy_window_is_bounded check (sync_response_s between 0.1 and 60),
  refuses_late           boolean     not null default true,
  is_durable             boolean     not null default false,
  result_retention_hours integer     not null default 72
                                     constraint ingest_policy_retention_is_bounded check (result_retention_hours between 24 and 168),
  replay_s               integer     not null default 600 constraint ingest_policy_replay_is_bounded check (replay_s between 0 and 86400),
  keep_days              integer     not null default 400 constraint ingest_policy_keeps_a_week check (keep_days between 7 and 36500),
  min_free_bytes         bigint      not null default 1073741824 constraint ingest_policy_floor_is_not_negative check (min_free_bytes >= 0),
  version                integer     not null default 1,
  updated_at             timestamptz not null,
  updated_by             text
);
comment on table makeready.ingest_policy is 'Policy of photos, for all slots. How many may be open is max_open of the queue.';
comment on column makeready.ingest_policy.only_row is 'There is one row.';
comment on column makeready.ingest_policy.sync_response_s is 'Seconds from the admission of a photo in which the booth is answered; 45 to 60, less in tests alone.';
comment on column makeready.ingest_policy.refuses_late is 'Whether a photo that would most likely not be ready in time is refused at once, while all workers are busy.';
comment on column makeready.ingest_policy.is_durable is 'Whether admission and end of a photo wait for the disk.';
comment on column makeready.ingest_policy.result_retention_hours is 'How long a result is kept after its photo''s end.';
comment on column makeready.ingest_policy.replay_s is 'How long a slot that joins re-sent images answers one again from its result.';
comment on column makeready.ingest_policy.keep_days is 'How long photos and their log are kept.';
comment on column makeready.ingest_policy.min_free_bytes is 'Room that is left in the media store; below it no photo is taken.';
comment on column makeready.ingest_policy.version is 'One more with each change, for those who change it.';
comment on column makeready.ingest_policy.updated_at is 'When it was last changed.';
comment on column makeready.ingest_policy.updated_by is 'Who did that; null: it is as it was made.';
insert into makeready.ingest_policy (updated_at) values (makeready.now()) on conflict do nothing;

create table if not exists makeready.ingest_password (
  only_row      boolean     not null default true constraint ingest_password_pk primary key
                            constraint ingest_password_has_one_row check (only_row),
  password_hash text        constraint ingest_password_hash_is_argon2id check (starts_with(password_hash, '$argon2id$')),
  version       integer     not null default 0,
  updated_at    timestamptz,
  updated_by    text
);
comment on table makeready.ingest_password is 'The password of all slots. No role reads this table.';
comment on column makeready.ingest_password.only_row is 'There is one row.';
comment on column makeready.ingest_password.password_hash is 'argon2id with its parameters and salt; null: none is set, and nobody gets in.';
comment on column makeready.ingest_password.version is 'One more with each change: whoever has seen a password to be right under another version asks again.';
comment on column makeready.ingest_password.updated_at is 'When it was set.';
comment on column makeready.ingest_password.updated_by is 'Who set it.';
insert into makeready.ingest_password (only_row) values (true) on conflict do nothing;

insert into makeready.throttle_rules (rule, tries, span) values ('ingest_password', 10, '5 minutes')      -- at one slot from one address
on conflict do nothing;
