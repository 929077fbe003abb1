-- Photos and their files: one row a photo, whose job is gone a day later, and the files that have a time to live.

create table if not exists makeready.photos (
  id                  uuid        not null constraint photos_pk primary key,
  slot_id             text        not null,
  provider_id         text        not null,
  source              text        not null default 'booth' constraint photos_source_is_known check (source in ('booth', 'ui_test')),
  chain               jsonb       not null,
  templates           jsonb       not null default '{}',
  intake              jsonb       not null default '{}',
  payload_sha256      bytea       not null constraint photos_payload_hash_is_sha256 check (octet_length(payload_sha256) = 32),
  public_id           uuid        not null default gen_random_uuid(),
  waiters             uuid[]      not null,
  created_at          timestamptz not null,
  expires_at          timestamptz not null,
  started_at          timestamptz,
  finished_at         timestamptz,
  failure_reason      text        constraint photos_reason_is_known check (failure_reason in ('timeout', 'provider_error', 'cancelled')),
  failure             jsonb,
  done_by             text,
  provider_reference  text        constraint photos_reference_is_short check (length(provider_reference) <= 500),
  provider_latency_ms integer,
  cost                numeric,
  result_store        text,
  result_path         text,
  result_mime         text,
  result_size_bytes   bigint,
  result_sha256       bytea       constraint photos_result_hash_is_sha256 check (octet_length(result_sha256) = 32),
  result_expires_at   timestamptz,
  before_picture      jsonb,
  after_picture       jsonb,
  answered_at         timestamptz,
  answered_with       integer,
  constraint photos_ends_for_a_reason_or_well check (failure_reason is null or finished_at is not null and result_sha256 is null),
  constraint photos_result_iff_success check ((finished_at is not null and failure_reason is null) = (result_sha256 is not null)),
  constraint photos_result_has_a_place check ((result_path is null) = (result_store is null))
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
create index if not exists photos_of_slot on makeready.photos (slot_id, created_at desc, id);
create index if not exists photos_recent on makeready.photos (created_at desc, id);
create index if not exists photos_open on makeready.photos (created_at) where finished_at is null;
create unique index if not exists photos_unique_public on makeready.photos (public_id);
create index if not exists photos_pace on makeready.photos (provider_id, finished_at desc) where started_at is not null and finished_at is not null;
create index if not exists photos_results on makeready.photos (slot_id, finished_at desc) where result_path is not null;
create index if not exists photos_result_due on makeready.photos (result_expires_at) where result_path is not null;
create index if not exists photos_resent on makeready.photos (slot_id, payload_sha256, created_at desc);
comment on table makeready.photos is 'Photos that were let in. Ends, results and statistics are read from here; the job is the running of it alone.';
comment on column makeready.photos.id is 'Random UUID; the job''s id, part of paths and of the link to the result.';
comment on column makeready.photos.slot_id is 'By which slot it came; no foreign key, no slot ever goes.';
comment on column makeready.photos.provider_id is 'The first provider of its chain, whose lane it is in.';
comment on column makeready.photos.source is 'booth, or ui_test: staff has tried the slot.';
comment on column makeready.photos.chain is 'Who is asked, one after the other, as the slot said then: [{provider_id, operation_id, settings}].';
comment on column makeready.photos.templates is 'Template media of the slot then, by setting key.';
comment on column makeready.photos.intake is 'What came with it: form fields, name, and what its header says.';
comment on column makeready.photos.payload_sha256 is 'Of what was uploaded.';
comment on column makeready.photos.public_id is 'Under which a provider can fetch the prepared image once it is offered; as hard to guess as the id.';
comment on column makeready.photos.waiters is 'The processes that wait, one entry a request: more than one after a re-sent image has joined.';
comment on column makeready.photos.created_at is 'When it was let in.';
comment on column makeready.photos.expires_at is 'When it is too late; written once.';
comment on column makeready.photos.started_at is 'When a worker took it; written at its end.';
comment on column makeready.photos.finished_at is 'When it ended.';
comment on column makeready.photos.failure_reason is 'Why it failed; null: it has not.';
comment on column makeready.photos.failure is 'The problem of one that failed: code, message, reason.';
comment on column makeready.photos.done_by is 'The provider whose image it is.';
comment on column makeready.photos.provider_reference is 'What that one calls the job.';
comment on column makeready.photos.provider_latency_ms is 'How long it took there.';
comment on column makeready.photos.cost is 'What it cost, in the currency of the provider''s prices.';
comment on column makeready.photos.result_store is 'The media store of the result; null: there is none, or not any more.';
comment on column makeready.photos.result_path is 'Where in it.';
comment on column makeready.photos.result_mime is 'Its type by its content; stays.';
comment on column makeready.photos.result_size_bytes is 'Its size; stays.';
comment on column makeready.photos.result_sha256 is 'SHA-256 of its bytes; stays.';
comment on column makeready.photos.result_expires_at is 'Until when it is kept; stays.';
comment on column makeready.photos.before_picture is 'Thumbnail of what came, kept as long as the result.';
comment on column makeready.photos.after_picture is 'Thumbnail of the result, kept as long.';
comment on column makeready.photos.answered_at is 'When the last waiting request was answered.';
comment on column makeready.photos.answered_with is 'The status of its answer; 499: the client had gone.';

create table if not exists makeready.media_objects (
  id         uuid        not null constraint media_objects_pk primary key,
  kind       text        not null constraint media_objects_kind_is_known check (kind in ('payload', 'prepared', 'temporary', 'template')),
  store      text        not null,
  path       text        not null,
  mime       text        not null,
  size_bytes bigint      not null constraint media_objects_size_is_not_negative check (size_bytes >= 0),
  sha256     bytea       not null constraint media_objects_hash_is_sha256 check (octet_length(sha256) = 32),
  job_id     uuid        constraint media_objects_fk_photos references makeready.photos on delete set null,
  created_at timestamptz not null,
  created_by text,
  expires_at timestamptz not null,
  deleted_at timestamptz,
  constraint media_objects_one_a_path unique (store, path)
) with (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
create index if not exists media_objects_of_job on makeready.media_objects (job_id) where job_id is not null;
create index if not exists media_objects_due on makeready.media_objects (expires_at);
create index if not exists media_objects_deleted on makeready.media_objects (deleted_at) where deleted_at is not null;
comment on table makeready.media_objects is 'Files with a time to live: what booths sent, what is shown to providers, what staff has registered. The file goes first, then its row.';
comment on column makeready.media_objects.id is 'Under this id /public/media serves it, unless it is a payload or a template.';
comment on column makeready.media_objects.kind is 'payload: as it was sent. prepared: what a provider fetches. temporary: registered by staff. template: no slot''s any more, kept for photos that were let in before.';
comment on column makeready.media_objects.store is 'The media store it lies in.';
comment on column makeready.media_objects.path is 'Where in it.';
comment on column makeready.media_objects.mime is 'Its type by its content.';
comment on column makeready.media_objects.size_bytes is 'Its size.';
comment on column makeready.media_objects.sha256 is 'SHA-256 of its bytes.';
comment on column makeready.media_objects.job_id is 'The photo it belongs to.';
comment on column makeready.media_objects.created_at is 'When it was stored.';
comment on column makeready.media_objects.created_by is 'Who registered it; null: a photo''s own.';
comment on column makeready.media_objects.expires_at is 'From then on nobody gets it, and the cleaner deletes it.';
comment on column makeready.media_objects.deleted_at is 'When its file went; that row stays a week, for whoever asks for the link.';

create or replace function makeready.media_facts(in_store text, at_path text, media_type text, byte_count bigint, hash_sha256 bytea)
  returns jsonb language sql immutable security definer set search_path = ''
as $$
  select jsonb_build_object('store', in_store, 'path', at_path, 'media_type', media_type, 'size_bytes', byte_count, 'sha256', encode(hash_sha256, 'hex'))
$$;
comment on function makeready.media_facts(text, text, text, bigint, bytea) is 'A file of a media store as functions hand it out: store, path, media_type, size_bytes, sha256 in hex.';
