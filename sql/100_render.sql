-- Render: packs of documents, each of which becomes a PDF.
--
-- A *pack* is what one user wants printed: a language and, for every document it has, that document's data. It never
-- changes, so a job only names it: what is printed is what was given. Rendering a document adds a row to
-- `pack_documents` and a job, in one transaction; the row with the highest `seq` is the latest one of its document, never
-- the one with the latest time. At most one render of a document is open.
--
-- A render is printed by a *layout*: the document type whose template is used, and the version of it that the render
-- pins. For what the pack was given data for that is the document itself. A render may bring content of its own, with
-- its own layout, title and, where files belong to it, sources in storage: a row of `render_contents`. To print a document
-- again is to print the newest content it was given.
--
--   pack_documents.state   queued ──► ready                (with a file)
--                             │  ▲
--                             ▼  │ an operator's retry
--                           failed
--
-- To the outside an open render is `rendering` while its job runs and `queued` otherwise; that is read from the job, so
-- nothing is written at a claim. A document that was never rendered is `none`. When a job is pruned nothing here changes.
--
-- A finished render makes an *artifact* (what it is, linked to its job by meta.render_job_id) with an *artifact file*
-- (whose id is the public file id) that refers to one stored object in `files`. `render_finish` writes all of it in the
-- transaction that ends the job, so whoever lost the lease publishes nothing. Every other end of a job, and an
-- operator's retry, reaches `pack_documents` through one trigger that a claim, a retry and a success never fire.
--
-- Locks are taken in one order: job, then pack, then the pack's documents; a job that exists is never touched by whoever
-- holds its pack. Where the queue has max_open, a retry holds the admission gate before the pack and a render after it:
-- PostgreSQL ends such a circle, and the service repeats its call.

create table if not exists makeready.render_jobs partition of makeready.jobs for values in ('render')
  with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500,
        autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
comment on table makeready.render_jobs is 'Jobs of the queue render: each prints one document of a pack.';
select makeready.queue_create('render', '{"is_fair": "true", "attempt_limit": "4 minutes", "max_attempts": "5",
                                          "retry_base": "1 second", "retry_factor": "2", "retry_cap": "60 seconds"}');

create table if not exists makeready.render_policy (
  only_row     boolean  not null default true constraint render_policy_pk primary key
                        constraint render_policy_has_one_row check (only_row),
  keep_files   integer  not null default 5 constraint render_policy_keeps_a_file check (keep_files between 1 and 1000),
  keep_sources interval not null default '7 days' constraint render_policy_keeps_sources check (keep_sources >= '1 hour')
);
comment on table makeready.render_policy is 'What retention leaves of renders; changed by render_policy_set.';
comment on column makeready.render_policy.only_row is 'There is one row.';
comment on column makeready.render_policy.keep_files is 'Files kept of each document of a pack: the newest ones.';
comment on column makeready.render_policy.keep_sources is 'How long HTML that was sent is kept, with its assets, for printing it again.';
insert into makeready.render_policy default values on conflict do nothing;

create table if not exists makeready.packs (
  id         uuid        not null constraint packs_pk primary key,
  session_id uuid        not null constraint packs_fk_sessions references makeready.sessions on delete cascade,
  user_id    uuid        constraint packs_fk_users references makeready.users on delete cascade,
  lang       text        not null constraint packs_lang_is_known check (lang in ('ru', 'en')),
  open_count integer     not null default 0 constraint packs_open_count_is_not_negative check (open_count >= 0),
  is_bundled boolean     not null default false,
  created_at timestamptz not null,
  constraint packs_fk_owner foreign key (session_id, user_id) references makeready.sessions (id, user_id)
    on update cascade on delete cascade
) with (fillfactor = 80);
alter table makeready.packs add column if not exists is_bundled boolean not null default false;
create index if not exists packs_of_session on makeready.packs (session_id, user_id);
create index if not exists packs_of_user on makeready.packs (user_id, created_at, id);
comment on table makeready.packs is 'Packs: who wants what printed, with which data.';
comment on column makeready.packs.id is 'The public pack_id.';
comment on column makeready.packs.session_id is 'The session it came out of; decides whose it is.';
comment on column makeready.packs.user_id is 'The session''s owner again, for the list of a user''s packs; a foreign key makes it follow.';
comment on column makeready.packs.lang is 'Language of all its documents.';
comment on column makeready.packs.open_count is 'Its open renders. Whoever brings it to 0 has ended the pack.';
comment on column makeready.packs.is_bundled is 'Whether its documents are also made into one PDF and one ZIP.';
comment on column makeready.packs.created_at is 'When it was made.';

create table if not exists makeready.pack_contents (
  pack_id uuid    not null constraint pack_contents_fk_packs references makeready.packs on delete cascade,
  doc_id  text    not null constraint pack_contents_fk_document_types references makeready.document_types,
  place   integer not null,
  content jsonb   not null constraint pack_contents_content_is_an_object check (jsonb_typeof(content) = 'object'),
  constraint pack_contents_pk primary key (pack_id, doc_id)
);
create index if not exists pack_contents_of_type on makeready.pack_contents (doc_id);
comment on table makeready.pack_contents is 'The documents of a pack: those it was given data for. Never changes.';
comment on column makeready.pack_contents.pack_id is 'The pack.';
comment on column makeready.pack_contents.doc_id is 'The document.';
comment on column makeready.pack_contents.place is 'Its place in the order of printing.';
comment on column makeready.pack_contents.content is 'Its data.';

create table if not exists makeready.render_contents (
  id            uuid        not null constraint render_contents_pk primary key,
  seq           bigint      not null generated always as identity,
  pack_id       uuid        not null constraint render_contents_fk_packs references makeready.packs on delete cascade,
  doc_id        text        not null constraint render_contents_fk_document_types references makeready.document_types,
  layout        text        not null constraint render_contents_fk_layouts references makeready.document_types,
  type_version  text,
  title         text        constraint render_contents_title_is_short check (length(title) between 1 and 200),
  content       jsonb       not null constraint render_contents_content_is_an_object check (jsonb_typeof(content) = 'object'),
  sources_id    uuid        constraint render_contents_fk_files references makeready.files,
  sources_until timestamptz,
  created_at    timestamptz not null,
  constraint render_contents_sources_have_an_end check (sources_id is null or sources_until is not null)
);
create unique index if not exists render_contents_newest on makeready.render_contents (pack_id, doc_id, seq);
create index if not exists render_contents_of_type on makeready.render_contents (doc_id);
create index if not exists render_contents_of_layout on makeready.render_contents (layout);
create index if not exists render_contents_of_sources on makeready.render_contents (sources_id) where sources_id is not null;
create index if not exists render_contents_due on makeready.render_contents (sources_until) where sources_id is not null;
comment on table makeready.render_contents is 'What renders print that is not in the data of their pack. Only its sources ever go.';
comment on column makeready.render_contents.id is 'Also the reference under which files keeps the sources.';
comment on column makeready.render_contents.seq is 'Order of entry: the newest of a document is what is printed.';
comment on column makeready.render_contents.pack_id is 'The pack.';
comment on column makeready.render_contents.doc_id is 'The document of the pack that is printed.';
comment on column makeready.render_contents.layout is 'The document type whose template prints it.';
comment on column makeready.render_contents.type_version is 'The version of that document type; null: the one in force when a render is asked for.';
comment on column makeready.render_contents.title is 'What the document is called here; null: as its type.';
comment on column makeready.render_contents.content is 'The data; for sources, what is to be done with them.';
comment on column makeready.render_contents.sources_id is 'The file with the sources; null: it has none, or none any more.';
comment on column makeready.render_contents.sources_until is 'From then on retention may take the sources; null: it never had any.';
comment on column makeready.render_contents.created_at is 'When it was given.';

create table if not exists makeready.artifacts (
  id         uuid        not null constraint artifacts_pk primary key,
  session_id uuid        not null constraint artifacts_fk_sessions references makeready.sessions on delete cascade,
  kind       text        not null constraint artifacts_kind_is_short check (length(kind) between 1 and 100),
  format     text        not null constraint artifacts_format_is_short check (length(format) between 1 and 20),
  meta       jsonb       not null,
  created_at timestamptz not null
);
create index if not exists artifacts_of_session on makeready.artifacts (session_id);
create index if not exists artifacts_printed_equally on makeready.artifacts ((meta ->> 'fingerprint')) where meta ? 'fingerprint';
create unique index if not exists artifacts_one_per_render_job on makeready.artifacts ((meta ->> 'render_job_id'));
comment on table makeready.artifacts is 'What was made: one row a successful render, two a bundle.';
comment on column makeready.artifacts.id is 'UUID version 7.';
comment on column makeready.artifacts.session_id is 'Decides whose it is.';
comment on column makeready.artifacts.kind is '<doc_id>_pdf; pack_pdf and pack_zip of a bundle.';
comment on column makeready.artifacts.format is 'pdf or zip.';
comment on column makeready.artifacts.meta is 'render_job_id, pack_id, doc_id, version of the template, and the facts of the render: pages, warnings, engine, timings.';
comment on column makeready.artifacts.created_at is 'When it was published.';

create table if not exists makeready.artifact_files (
  id          uuid        not null constraint artifact_files_pk primary key,
  artifact_id uuid        not null constraint artifact_files_fk_artifacts references makeready.artifacts on delete cascade,
  stored_id   uuid        constraint artifact_files_fk_files references makeready.files,
  thumbnail_id uuid       constraint artifact_files_fk_thumbnails references makeready.files,
  storage     text        not null default 's3' constraint artifact_files_storage_is_known check (storage in ('s3')),
  filename    text        not null constraint artifact_files_filename_is_short check (length(filename) between 1 and 250),
  created_at  timestamptz not null,
  released_at timestamptz,
  constraint artifact_files_stored_unless_released check ((stored_id is null) = (released_at is not null))
);
alter table makeready.artifact_files
  alter column stored_id drop not null,
  add column if not exists thumbnail_id uuid constraint artifact_files_fk_thumbnails references makeready.files,
  add column if not exists released_at  timestamptz;
create index if not exists artifact_files_of_artifact on makeready.artifact_files (artifact_id);
create index if not exists artifact_files_of_stored on makeready.artifact_files (stored_id);
create index if not exists artifact_files_of_thumbnail on makeready.artifact_files (thumbnail_id) where thumbnail_id is not null;
comment on table makeready.artifact_files is 'Files of artifacts: the public file_id. Many may refer to one stored object.';
comment on column makeready.artifact_files.id is 'The public file_id; also the reference under which files keeps the object.';
comment on column makeready.artifact_files.artifact_id is 'The artifact.';
comment on column makeready.artifact_files.stored_id is 'The stored object: bucket, key, size, hash; null: retention has let it go.';
comment on column makeready.artifact_files.thumbnail_id is 'A picture of the first page, kept under the same reference; null: there is none.';
comment on column makeready.artifact_files.storage is 'Kind of storage.';
comment on column makeready.artifact_files.filename is 'What a download is called.';
comment on column makeready.artifact_files.created_at is 'When it was published.';
comment on column makeready.artifact_files.released_at is 'When retention let it go; null: it is there.';

create table if not exists makeready.render_surplus (
  pack_id uuid not null constraint render_surplus_pk primary key constraint render_surplus_fk_packs references makeready.packs on delete cascade
);
comment on table makeready.render_surplus is 'Packs that may have more files than retention leaves them.';
comment on column makeready.render_surplus.pack_id is 'The pack.';

create table if not exists makeready.pack_documents (
  seq           bigint      not null generated always as identity constraint pack_documents_pk primary key,
  pack_id       uuid        not null constraint pack_documents_fk_packs references makeready.packs on delete cascade,
  doc_id        text        not null constraint pack_documents_fk_document_types references makeready.document_types,
  job_id        uuid        not null constraint pack_documents_unique_job unique,
  call_id       uuid        not null,
  state         text        not null constraint pack_documents_state_is_known check (state in ('queued', 'ready', 'failed')),
  layout        text        not null constraint pack_documents_fk_layouts references makeready.document_types,
  type_version  text        not null,
  content_id    uuid        constraint pack_documents_fk_render_contents references makeready.render_contents,
  is_forced     boolean     not null default false,
  attempts_used integer     not null default 0 constraint pack_documents_attempts_used_is_not_negative check (attempts_used >= 0),
  last_error    jsonb,
  file_id       uuid        constraint pack_documents_fk_artifact_files references makeready.artifact_files,
  created_at    timestamptz not null,
  finished_at   timestamptz,
  constraint pack_documents_file_iff_ready check ((file_id is not null) = (state = 'ready')),
  constraint pack_documents_error_iff_failed check ((last_error is not null) = (state = 'failed')),
  constraint pack_documents_finished_at_iff_ended check ((finished_at is not null) = (state <> 'queued'))
) with (fillfactor = 90);
alter table makeready.pack_documents
  add column if not exists layout     text    constraint pack_documents_fk_layouts references makeready.document_types,
  add column if not exists content_id uuid    constraint pack_documents_fk_render_contents references makeready.render_contents,
  add column if not exists is_forced  boolean not null default false;
update makeready.pack_documents d set layout = d.doc_id where d.layout is null;
alter table makeready.pack_documents alter column layout set not null;
create unique index if not exists pack_documents_one_open on makeready.pack_documents (pack_id, doc_id) where state = 'queued';
create index if not exists pack_documents_latest on makeready.pack_documents (pack_id, doc_id, seq);
create index if not exists pack_documents_of_type on makeready.pack_documents (doc_id);
create index if not exists pack_documents_of_layout on makeready.pack_documents (layout);
create index if not exists pack_documents_of_content on makeready.pack_documents (content_id) where content_id is not null;
create index if not exists pack_documents_of_file on makeready.pack_documents (file_id) where file_id is not null;
comment on table makeready.pack_documents is 'Renders: one row each. The highest seq of a pack and document is the current one.';
comment on column makeready.pack_documents.seq is 'Order of entry; decides which render is the latest.';
comment on column makeready.pack_documents.pack_id is 'The pack.';
comment on column makeready.pack_documents.doc_id is 'The document.';
comment on column makeready.pack_documents.job_id is 'Its job; no foreign key, since jobs are pruned and renders stay.';
comment on column makeready.pack_documents.call_id is 'The call that asked for it: renders of one call share it.';
comment on column makeready.pack_documents.state is 'queued: open. ready: has a file. failed: the job ended otherwise.';
comment on column makeready.pack_documents.layout is 'The document type whose template prints it.';
comment on column makeready.pack_documents.type_version is 'The version of the layout that prints it, pinned when the render was asked for.';
comment on column makeready.pack_documents.content_id is 'Content of its own; null: the data of the pack.';
comment on column makeready.pack_documents.is_forced is 'Printed whatever there is: stored bytes of an equal document are not used.';
comment on column makeready.pack_documents.attempts_used is 'Attempts it took; while open the job knows.';
comment on column makeready.pack_documents.last_error is 'Why it failed: code, message.';
comment on column makeready.pack_documents.file_id is 'The file it made.';
comment on column makeready.pack_documents.created_at is 'When it was asked for.';
comment on column makeready.pack_documents.finished_at is 'When it ended.';
