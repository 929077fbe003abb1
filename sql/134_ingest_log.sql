-- What happened to each photo, line by line, and the sums of it. Each photo has one line of its end, never two.

create table if not exists makeready.processing_logs (
  id                  bigint      not null generated always as identity constraint processing_logs_pk primary key,
  job_id              uuid        not null constraint processing_logs_fk_photos references makeready.photos on delete cascade,
  slot_id             text        not null,
  provider_id         text,
  status              text        not null
                                  constraint processing_logs_status_is_known
                                  check (status in ('received', 'dispatched', 'provider_responded', 'succeeded', 'failed', 'timeout')),
  failure_reason      text,
  occurred_at         timestamptz not null,
  message             text        constraint processing_logs_message_is_short check (length(message) <= 1024),
  details             jsonb       not null default '{}',
  provider_latency_ms integer,
  constraint processing_logs_reason_iff_not_well check ((failure_reason is not null) = (status in ('failed', 'timeout')))
);
create index if not exists processing_logs_of_job on makeready.processing_logs (job_id, id);
create unique index if not exists processing_logs_one_end on makeready.processing_logs (job_id) where status in ('succeeded', 'failed', 'timeout');
create index if not exists processing_logs_ends on makeready.processing_logs (slot_id, occurred_at) where status in ('succeeded', 'failed', 'timeout');
create index if not exists processing_logs_all_ends on makeready.processing_logs (occurred_at) where status in ('succeeded', 'failed', 'timeout');
comment on table makeready.processing_logs is 'What happened to each photo: received, dispatched, provider_responded, and one end.';
comment on column makeready.processing_logs.id is 'Order of entry.';
comment on column makeready.processing_logs.job_id is 'The photo.';
comment on column makeready.processing_logs.slot_id is 'Its slot.';
comment on column makeready.processing_logs.provider_id is 'Who had it: the provider that brought the image, or else the first of the chain.';
comment on column makeready.processing_logs.status is 'What happened. failed: provider_error or cancelled.';
comment on column makeready.processing_logs.failure_reason is 'Of the end of one that failed: timeout, provider_error, cancelled.';
comment on column makeready.processing_logs.occurred_at is 'When.';
comment on column makeready.processing_logs.message is 'In words, at most 1024 characters.';
comment on column makeready.processing_logs.details is 'provider_id, provider_reference, attempt, error, expires_at, payload_path, result_file_path, result_checksum, failure_reason and other scalars.';
comment on column makeready.processing_logs.provider_latency_ms is 'How long the provider took.';

create table if not exists makeready.processing_log_aggregates (
  id              bigint      not null generated always as identity constraint processing_log_aggregates_pk primary key,
  slot_id         text        constraint processing_log_aggregates_fk_slots references makeready.slots,
  granularity     text        not null constraint processing_log_aggregates_granularity_is_known check (granularity in ('hour', 'day', 'week', 'month')),
  period_start    timestamptz not null,
  period_end      timestamptz not null,
  success         integer     not null default 0,
  timeouts        integer     not null default 0,
  provider_errors integer     not null default 0,
  cancelled       integer     not null default 0,
  errors          integer     not null default 0,
  ingest_count    integer     not null default 0,
  constraint processing_log_aggregates_errors_add_up check (errors = timeouts + provider_errors + cancelled),
  constraint processing_log_aggregates_count_adds_up check (ingest_count = success + errors)
);
create unique index if not exists processing_log_aggregates_one_a_period
  on makeready.processing_log_aggregates (coalesce(slot_id, 'GLOBAL'), granularity, period_start);
create index if not exists processing_log_aggregates_of_slot on makeready.processing_log_aggregates (slot_id) where slot_id is not null;
comment on table makeready.processing_log_aggregates is 'Sums of the log: one row a slot and period, and one for all slots.';
comment on column makeready.processing_log_aggregates.id is 'Inner id.';
comment on column makeready.processing_log_aggregates.slot_id is 'The slot; null: all of them.';
comment on column makeready.processing_log_aggregates.granularity is 'Length of the period.';
comment on column makeready.processing_log_aggregates.period_start is 'Its begin.';
comment on column makeready.processing_log_aggregates.period_end is 'Its end, not included.';
comment on column makeready.processing_log_aggregates.success is 'Photos that were processed.';
comment on column makeready.processing_log_aggregates.timeouts is 'Photos that were too late.';
comment on column makeready.processing_log_aggregates.provider_errors is 'Photos whose providers failed.';
comment on column makeready.processing_log_aggregates.cancelled is 'Photos that nobody waited for any more.';
comment on column makeready.processing_log_aggregates.errors is 'timeouts, provider_errors and cancelled together.';
comment on column makeready.processing_log_aggregates.ingest_count is 'All that ended.';

create table if not exists makeready.ingest_refusals (
  slot_id  text        not null constraint ingest_refusals_fk_slots references makeready.slots,
  reason   text        not null constraint ingest_refusals_reason_is_known check (reason in ('limit', 'slot_limit', 'deadline', 'unavailable')),
  minute   timestamptz not null,
  refused  integer     not null,
  constraint ingest_refusals_pk primary key (slot_id, reason, minute)
);
create index if not exists ingest_refusals_recent on makeready.ingest_refusals (minute);
comment on table makeready.ingest_refusals is 'Photos that were answered 429, or 503 because something was away, by minute: they have no row of their own.';
comment on column makeready.ingest_refusals.slot_id is 'The slot.';
comment on column makeready.ingest_refusals.reason is 'limit, slot_limit or deadline; unavailable: the database, the media store or the whole process.';
comment on column makeready.ingest_refusals.minute is 'Begin of the minute.';
comment on column makeready.ingest_refusals.refused is 'How many.';
