-- Render: packs of documents, each of which becomes a PDF.
--
-- A *pack* is what one user wants printed: a language and, for every document it has, that document's data. It never
-- changes, so a job only names it: what is printed is what was given. Rendering a document adds a row to `pack_documents` and a job, in one transaction; the row with the highest
-- `seq` is the latest one of its document, never the one with the latest time. At most one render of a document is open.
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

create table if not exists makeready.document_types (
  id               text        not null constraint document_types_pk primary key
                               constraint document_types_id_is_a_word check (id ~ '^[a-z][a-z0-9_]{0,62}$'),
  title_ru         text        not null constraint document_types_title_ru_is_short check (length(title_ru) between 1 and 200),
  title_en         text        not null constraint document_types_title_en_is_short check (length(title_en) between 1 and 200),
  tier             text        not null default 'free' constraint document_types_tier_is_known check (tier in ('free', 'paid')),
  is_enabled       boolean     not null default true,
  is_shipped       boolean     not null default true,
  enabled_by_staff boolean,
  tier_by_staff    text        constraint document_types_staff_tier_is_known check (tier_by_staff in ('free', 'paid')),
  version          text        not null default '',
  synced_at        timestamptz not null
);
comment on table makeready.document_types is 'The registry of documents: a copy of what the installed version ships, with what staff decided laid over it.';
comment on column makeready.document_types.id is 'The public doc_id.';
comment on column makeready.document_types.title_ru is 'Title in Russian.';
comment on column makeready.document_types.title_en is 'Title in English.';
comment on column makeready.document_types.tier is 'free or paid, as shipped. Informs; nothing is refused by it.';
comment on column makeready.document_types.is_enabled is 'Enabled as shipped.';
comment on column makeready.document_types.is_shipped is 'Whether the version that synced last can print it.';
comment on column makeready.document_types.enabled_by_staff is 'Overrides is_enabled; null: as shipped.';
comment on column makeready.document_types.tier_by_staff is 'Overrides tier; null: as shipped.';
comment on column makeready.document_types.version is 'Hash over template, schema, options and assets.';
comment on column makeready.document_types.synced_at is 'When the row last changed by a sync.';

create table if not exists makeready.packs (
  id         uuid        not null constraint packs_pk primary key,
  session_id uuid        not null constraint packs_fk_sessions references makeready.sessions on delete cascade,
  user_id    uuid        constraint packs_fk_users references makeready.users on delete cascade,
  lang       text        not null constraint packs_lang_is_known check (lang in ('ru', 'en')),
  open_count integer     not null default 0 constraint packs_open_count_is_not_negative check (open_count >= 0),
  created_at timestamptz not null,
  constraint packs_fk_owner foreign key (session_id, user_id) references makeready.sessions (id, user_id)
    on update cascade on delete cascade
) with (fillfactor = 80);
create index if not exists packs_of_session on makeready.packs (session_id, user_id);
create index if not exists packs_of_user on makeready.packs (user_id, created_at, id);
comment on table makeready.packs is 'Packs: who wants what printed, with which data.';
comment on column makeready.packs.id is 'The public pack_id.';
comment on column makeready.packs.session_id is 'The session it came out of; decides whose it is.';
comment on column makeready.packs.user_id is 'The session''s owner again, for the list of a user''s packs; a foreign key makes it follow.';
comment on column makeready.packs.lang is 'Language of all its documents.';
comment on column makeready.packs.open_count is 'Its open renders. Whoever brings it to 0 has ended the pack.';
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

create table if not exists makeready.artifacts (
  id         uuid        not null constraint artifacts_pk primary key,
  session_id uuid        not null constraint artifacts_fk_sessions references makeready.sessions on delete cascade,
  kind       text        not null constraint artifacts_kind_is_short check (length(kind) between 1 and 100),
  format     text        not null constraint artifacts_format_is_short check (length(format) between 1 and 20),
  meta       jsonb       not null,
  created_at timestamptz not null
);
create index if not exists artifacts_of_session on makeready.artifacts (session_id);
create unique index if not exists artifacts_one_per_render_job on makeready.artifacts ((meta ->> 'render_job_id'));
comment on table makeready.artifacts is 'What was made: one row a successful render.';
comment on column makeready.artifacts.id is 'UUID version 7.';
comment on column makeready.artifacts.session_id is 'Decides whose it is.';
comment on column makeready.artifacts.kind is '<doc_id>_pdf.';
comment on column makeready.artifacts.format is 'pdf.';
comment on column makeready.artifacts.meta is 'render_job_id, pack_id, doc_id, version of the template, and the facts of the render: pages, warnings, engine, timings.';
comment on column makeready.artifacts.created_at is 'When it was published.';

create table if not exists makeready.artifact_files (
  id          uuid        not null constraint artifact_files_pk primary key,
  artifact_id uuid        not null constraint artifact_files_fk_artifacts references makeready.artifacts on delete cascade,
  stored_id   uuid        not null constraint artifact_files_fk_files references makeready.files,
  storage     text        not null default 's3' constraint artifact_files_storage_is_known check (storage in ('s3')),
  filename    text        not null constraint artifact_files_filename_is_short check (length(filename) between 1 and 250),
  created_at  timestamptz not null
);
create index if not exists artifact_files_of_artifact on makeready.artifact_files (artifact_id);
create index if not exists artifact_files_of_stored on makeready.artifact_files (stored_id);
comment on table makeready.artifact_files is 'Files of artifacts: the public file_id. Many may refer to one stored object.';
comment on column makeready.artifact_files.id is 'The public file_id; also the reference under which files keeps the object.';
comment on column makeready.artifact_files.artifact_id is 'The artifact.';
comment on column makeready.artifact_files.stored_id is 'The stored object: bucket, key, size, hash.';
comment on column makeready.artifact_files.storage is 'Kind of storage.';
comment on column makeready.artifact_files.filename is 'What a download is called.';
comment on column makeready.artifact_files.created_at is 'When it was published.';

create table if not exists makeready.pack_documents (
  seq           bigint      not null generated always as identity constraint pack_documents_pk primary key,
  pack_id       uuid        not null constraint pack_documents_fk_packs references makeready.packs on delete cascade,
  doc_id        text        not null constraint pack_documents_fk_document_types references makeready.document_types,
  job_id        uuid        not null constraint pack_documents_unique_job unique,
  call_id       uuid        not null,
  state         text        not null constraint pack_documents_state_is_known check (state in ('queued', 'ready', 'failed')),
  type_version  text        not null,
  attempts_used integer     not null default 0 constraint pack_documents_attempts_used_is_not_negative check (attempts_used >= 0),
  last_error    jsonb,
  file_id       uuid        constraint pack_documents_fk_artifact_files references makeready.artifact_files,
  created_at    timestamptz not null,
  finished_at   timestamptz,
  constraint pack_documents_file_iff_ready check ((file_id is not null) = (state = 'ready')),
  constraint pack_documents_error_iff_failed check ((last_error is not null) = (state = 'failed')),
  constraint pack_documents_finished_at_iff_ended check ((finished_at is not null) = (state <> 'queued'))
) with (fillfactor = 90);
create unique index if not exists pack_documents_one_open on makeready.pack_documents (pack_id, doc_id) where state = 'queued';
create index if not exists pack_documents_latest on makeready.pack_documents (pack_id, doc_id, seq);
create index if not exists pack_documents_of_type on makeready.pack_documents (doc_id);
create index if not exists pack_documents_of_file on makeready.pack_documents (file_id) where file_id is not null;
comment on table makeready.pack_documents is 'Renders: one row each. The highest seq of a pack and document is the current one.';
comment on column makeready.pack_documents.seq is 'Order of entry; decides which render is the latest.';
comment on column makeready.pack_documents.pack_id is 'The pack.';
comment on column makeready.pack_documents.doc_id is 'The document.';
comment on column makeready.pack_documents.job_id is 'Its job; no foreign key, since jobs are pruned and renders stay.';
comment on column makeready.pack_documents.call_id is 'The call that asked for it: renders of one call share it.';
comment on column makeready.pack_documents.state is 'queued: open. ready: has a file. failed: the job ended otherwise.';
comment on column makeready.pack_documents.type_version is 'Version of the document type when the render was asked for.';
comment on column makeready.pack_documents.attempts_used is 'Attempts it took; while open the job knows.';
comment on column makeready.pack_documents.last_error is 'Why it failed: code, message.';
comment on column makeready.pack_documents.file_id is 'The file it made.';
comment on column makeready.pack_documents.created_at is 'When it was asked for.';
comment on column makeready.pack_documents.finished_at is 'When it ended.';

-- Every process that prints or lists documents calls this at its start; versions may differ during a roll-out, then the
-- last one wins, and what staff decided always stays.
create or replace function makeready.render_types_sync(types jsonb)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_now   timestamptz := makeready.now();
  v_count integer;
begin
  if coalesce(jsonb_array_length(types), 0) = 0 then
    raise exception 'there is no document type in this list'
      using errcode = 'MR422', hint = 'An empty list would take every document out of the registry.';
  end if;
  with given as (
    select g.* from jsonb_to_recordset(types) g (id text, title_ru text, title_en text, tier text, enabled boolean, version text)
  ), put as (
    insert into makeready.document_types as t (id, title_ru, title_en, tier, is_enabled, version, synced_at)
    select g.id, g.title_ru, g.title_en, coalesce(g.tier, 'free'), coalesce(g.enabled, true), coalesce(g.version, ''), v_now
      from given g
     order by g.id
    on conflict on constraint document_types_pk do update
       set title_ru = excluded.title_ru, title_en = excluded.title_en, tier = excluded.tier, is_enabled = excluded.is_enabled,
           is_shipped = true, version = excluded.version, synced_at = excluded.synced_at
     where (t.title_ru, t.title_en, t.tier, t.is_enabled, t.is_shipped, t.version)
           is distinct from (excluded.title_ru, excluded.title_en, excluded.tier, excluded.is_enabled, true, excluded.version)
    returning 1
  ), gone as (
    update makeready.document_types t set is_shipped = false, synced_at = v_now
     where t.is_shipped and not exists (select from given g where g.id = t.id)
    returning 1
  )
  select (select count(*) from put) + (select count(*) from gone) into v_count;
  return v_count;
end
$$;
comment on function makeready.render_types_sync(jsonb) is
  'Makes the registry equal to what this version ships: an array of {id, title_ru, title_en, tier, enabled, version}. Returns how many rows changed.';

create or replace function makeready.render_is_enabled(kind_of makeready.document_types)
  returns boolean language sql immutable security definer set search_path = ''
as $$ select kind_of.is_shipped and coalesce(kind_of.enabled_by_staff, kind_of.is_enabled) $$;
comment on function makeready.render_is_enabled(makeready.document_types) is
  'Whether a document can be rendered: shipped, and enabled by staff or, where they said nothing, as shipped.';

create or replace function makeready.render_refuse_pack(pack uuid)
  returns void language plpgsql volatile security definer set search_path = ''
as $$
begin
  raise exception 'there is no pack % of yours', coalesce(pack::text, 'null')
    using errcode = 'MR404', detail = json_build_object('code', 'pack_not_found', 'pack_id', pack),
          hint = 'A pack that belongs to somebody else looks the same as one that does not exist.';
end
$$;
comment on function makeready.render_refuse_pack(uuid) is 'Raises MR404 for a pack that is unknown or not the caller''s.';

-- Locks the pack: of two calls for one pack the second waits here and then finds the first one's renders open.
create or replace function makeready.render_lock_pack(person uuid, pack uuid)
  returns makeready.packs
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_pack makeready.packs;
begin
  select p.* into v_pack from makeready.packs p join makeready.sessions s on s.id = p.session_id
   where p.id = pack and s.user_id = person for no key update of p;
  if not found then
    perform makeready.render_refuse_pack(pack);
  end if;
  return v_pack;
end
$$;
comment on function makeready.render_lock_pack(uuid, uuid) is 'The pack, locked, if it is this user''s; else MR404.';

create or replace function makeready.render_type(document text)
  returns makeready.document_types
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_type makeready.document_types;
begin
  select * into v_type from makeready.document_types t where t.id = document;
  if not found then
    raise exception 'there is no document %', coalesce(quote_literal(document), 'null')
      using errcode = 'MR404', detail = json_build_object('code', 'document_not_found', 'doc_id', document),
            hint = 'select id from makeready.document_types lists them.';
  end if;
  if not makeready.render_is_enabled(v_type) then
    raise exception 'the document % is disabled', document
      using errcode = 'MR422', detail = json_build_object('code', 'invalid_request', 'reason', 'document_disabled', 'doc_id', document),
            hint = 'Staff enable it again by makeready.document_types.enabled_by_staff.';
  end if;
  return v_type;
end
$$;
comment on function makeready.render_type(text) is 'The document type if it can be rendered: MR404 when unknown, MR422 when disabled.';

-- The one place that adds renders: rows, jobs and the pack's count, all or nothing. The caller holds the pack's lock.
create or replace function makeready.render_add(of_pack makeready.packs, doc_list text[], call uuid, new_jobs uuid[],
    rank integer default 0, due timestamptz default null, wake boolean default false)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_bodies jsonb[];
begin
  select array_agg(jsonb_build_object('pack_id', of_pack.id, 'doc_id', d.doc_id, 'language', of_pack.lang) order by d.place)
    into v_bodies from unnest(doc_list) with ordinality d (doc_id, place);
  insert into makeready.pack_documents (pack_id, doc_id, job_id, call_id, state, type_version, created_at)
  select of_pack.id, d.doc_id, d.job_id, call, 'queued', t.version, makeready.now()
    from unnest(doc_list, new_jobs) with ordinality d (doc_id, job_id, place)
    join makeready.document_types t on t.id = d.doc_id
   order by d.place;
  update makeready.packs p set open_count = p.open_count + cardinality(doc_list) where p.id = of_pack.id;
  perform makeready.enqueue_many('render', v_bodies, new_jobs, rank => rank, due => due,
                                 owner_key => coalesce(of_pack.user_id::text, ''), batch_key => of_pack.id, wake => wake);
end
$$;
comment on function makeready.render_add(makeready.packs, text[], uuid, uuid[], integer, timestamptz, boolean) is
  'Opens a render for each named document of a locked pack and enqueues its job, in this transaction. Internal.';

create or replace function makeready.render_pack_add(person uuid, content_by_document jsonb, language text, in_session uuid, pack uuid)
  returns makeready.packs
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_pack    makeready.packs;
  v_session uuid := in_session;
  v_odd     text;
  v_size    integer;
begin
  if language is null or language not in ('ru', 'en') or jsonb_typeof(content_by_document) is distinct from 'object'
     or content_by_document = '{}' or exists (select from jsonb_each(content_by_document) c where jsonb_typeof(c.value) <> 'object') then
    raise exception 'a pack needs a language, ru or en, and for each of its documents the data: an object'
      using errcode = 'MR422', detail = json_build_object('language', language),
            hint = 'For example {"invoice": {…}}: one object a document.';
  end if;
  select c.key into v_odd from jsonb_each(content_by_document) c
   where not exists (select from makeready.document_types t where t.id = c.key) order by c.key limit 1;
  if found then
    perform makeready.render_type(v_odd);          -- raises
  end if;
  select max(pg_column_size(c.value)) into v_size from jsonb_each(content_by_document) c;
  if v_size > 16777216 then
    raise exception 'the data of a document has % bytes', v_size
      using errcode = 'MR422', detail = json_build_object('code', 'payload_too_large', 'max_bytes', 16777216, 'received_bytes', v_size),
            hint = 'Numbers take up to eight times as many bytes as in the text.';
  end if;
  if v_session is null then
    v_session := makeready.session_create(person);
  elsif not exists (select from makeready.sessions s where s.id = v_session and s.user_id is not distinct from person) then
    raise exception 'there is no session % of yours', v_session
      using errcode = 'MR404', detail = json_build_object('code', 'session_not_found', 'session_id', v_session),
            hint = 'Leave the session out and one is made.';
  end if;
  insert into makeready.packs (id, session_id, user_id, lang, created_at)
  values (pack, v_session, person, language, makeready.now())
  returning * into v_pack;
  insert into makeready.pack_contents (pack_id, doc_id, place, content)
  select pack, c.key, row_number() over (order by c.key), c.value from jsonb_each(content_by_document) c;
  return v_pack;
end
$$;
comment on function makeready.render_pack_add(uuid, jsonb, text, uuid, uuid) is
  'Writes a pack, in a session of its user or a new one. MR404 when a document or the session is unknown, MR422 when the data is no object or too large. Internal.';

create or replace function makeready.render_pack_create(person uuid, content_by_document jsonb, language text default 'ru',
    in_session uuid default null, request_key text default null)
  returns table (verdict text, pack uuid)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_new     uuid := makeready.uuid7();
  v_verdict text := 'created';
begin
  if request_key is not null then
    select t.verdict, t.target_id into v_verdict, v_new
      from makeready.request_take('user:' || person, 'render_pack_create', request_key,
             sha256(convert_to(concat_ws(' ', language, in_session, content_by_document), 'UTF8')), 'render', v_new) t;
  end if;
  if v_verdict = 'created' then
    perform makeready.render_pack_add(person, content_by_document, language, in_session, v_new);
  end if;
  return query select v_verdict, v_new;
end
$$;
comment on function makeready.render_pack_create(uuid, jsonb, text, uuid, text) is
  'Makes a pack of a user out of {doc_id: data}. The same request key again returns the same pack (verdict replayed).';

create or replace function makeready.render_pack(person uuid, pack uuid, request_key text default null)
  returns table (verdict text, jobs_created integer, jobs_skipped integer, job_ids uuid[])
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_call    uuid := makeready.uuid7();
  v_verdict text := 'created';
  v_pack    makeready.packs;
  v_able    text[];
  v_due     text[];
begin
  if request_key is not null then
    select t.verdict, t.target_id into v_verdict, v_call
      from makeready.request_take('user:' || person, 'render_pack', request_key, sha256(uuid_send(pack)), 'render', v_call) t;
  end if;
  v_pack := makeready.render_lock_pack(person, pack);
  if not exists (select from makeready.document_types t where makeready.render_is_enabled(t)) then
    raise exception 'no document is enabled'
      using errcode = 'MR409', detail = json_build_object('reason', 'no_documents', 'pack_id', pack),
            hint = 'The registry is empty: start a worker of this version, or enable a document.';
  end if;
  select array_agg(t.id order by c.place) into v_able
    from makeready.pack_contents c
    join makeready.document_types t on t.id = c.doc_id
   where c.pack_id = pack and makeready.render_is_enabled(t);
  if v_verdict = 'created' then
    -- Left out: the documents whose latest render is open or has succeeded.
    select array_agg(d.doc_id order by d.place) into v_due
      from unnest(v_able) with ordinality d (doc_id, place)
     where coalesce((select r.state from makeready.pack_documents r
                      where r.pack_id = pack and r.doc_id = d.doc_id order by r.seq desc limit 1), 'none') in ('none', 'failed');
    if v_due is not null then
      perform makeready.render_add(v_pack, v_due, v_call,
                                   (select array_agg(makeready.uuid7()) from generate_series(1, cardinality(v_due))));
    end if;
  end if;
  return query
    select v_verdict, count(*)::integer, greatest(coalesce(cardinality(v_able), 0) - count(*), 0)::integer,
           coalesce(array_agg(r.job_id order by r.seq), '{}')
      from makeready.pack_documents r where r.pack_id = pack and r.call_id = v_call;
end
$$;
comment on function makeready.render_pack(uuid, uuid, text) is
  'Renders each enabled document of a pack whose latest render is not open and has not succeeded; so a second call makes nothing new. The same request key again answers as the first time (verdict replayed). MR404: not yours.';

create or replace function makeready.render_document(person uuid, pack uuid, document text, request_key text default null)
  returns table (verdict text, job_id uuid)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_job     uuid := makeready.uuid7();
  v_verdict text := 'created';
  v_pack    makeready.packs;
  v_active  uuid;
begin
  if request_key is not null then
    select t.verdict, t.target_id into v_verdict, v_job
      from makeready.request_take('user:' || person, 'render_document', request_key,
             sha256(uuid_send(pack) || convert_to(document, 'UTF8')), 'render', v_job) t;
  end if;
  if v_verdict <> 'created' then
    return query select v_verdict, v_job;
    return;
  end if;
  v_pack := makeready.render_lock_pack(person, pack);
  perform makeready.render_type(document);
  if not exists (select from makeready.pack_contents c where c.pack_id = pack and c.doc_id = document) then
    raise exception 'pack % has no document %', pack, document
      using errcode = 'MR404', detail = json_build_object('code', 'document_not_found', 'doc_id', document, 'pack_id', pack),
            hint = 'A pack holds the documents it was given data for; make another one.';
  end if;
  select r.job_id into v_active from makeready.pack_documents r
   where r.pack_id = pack and r.doc_id = document and r.state = 'queued';
  if found then
    raise exception 'document % of pack % is being rendered already', document, pack
      using errcode = 'MR409', detail = json_build_object('code', 'already_in_progress', 'job_id', v_active, 'pack_id', pack, 'doc_id', document),
            hint = 'Wait for that job.';
  end if;
  perform makeready.render_add(v_pack, array[document], v_job, array[v_job]);
  return query select v_verdict, v_job;
end
$$;
comment on function makeready.render_document(uuid, uuid, text, text) is
  'Renders one document of a pack anew: always a new job and a new file. MR409 with the id of the active job while one is open; the same request key again returns the same job.';

create or replace function makeready.render_enqueue(document text, data jsonb, language text default 'ru', for_user uuid default null,
    request_key text default null, rank integer default 0, due timestamptz default null, wake boolean default false)
  returns uuid
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_job     uuid := makeready.uuid7();
  v_verdict text := 'created';
begin
  if request_key is not null then
    select t.verdict, t.target_id into v_verdict, v_job
      from makeready.request_take(coalesce('user:' || for_user, 'database:' || session_user), 'render_enqueue', request_key,
             sha256(convert_to(concat_ws(' ', document, language, data), 'UTF8')), 'render', v_job) t;
  end if;
  if v_verdict = 'created' then
    perform makeready.render_type(document);
    perform makeready.render_add(
      makeready.render_pack_add(for_user, jsonb_build_object(document, coalesce(data, 'null')), language, null, makeready.uuid7()),
      array[document], v_job, array[v_job], rank, due, wake);
  end if;
  return v_job;
end
$$;
comment on function makeready.render_enqueue(text, jsonb, text, uuid, text, integer, timestamptz, boolean) is
  'Prints one document: makes a pack of it and enqueues the job, in the caller''s own transaction, with which it commits or vanishes. Returns the job''s id; the same request key again returns the same. wake starts an idle worker at once, at the price of a notification in this transaction.';

create or replace function makeready.render_input(job uuid)
  returns table (pack_id uuid, doc_id text, language_code text, content jsonb)
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select p.id, c.doc_id, p.lang, c.content
    from makeready.pack_documents r
    join makeready.packs p on p.id = r.pack_id
    join makeready.pack_contents c on c.pack_id = r.pack_id and c.doc_id = r.doc_id
   where r.job_id = render_input.job
$$;
comment on function makeready.render_input(uuid) is 'What a job is to print: read by its worker, and by whoever repeats it elsewhere.';

create or replace function makeready.render_finish(job uuid, token uuid, bucket_name text, object_name text, media_type text,
    byte_count bigint, hash_sha256 bytea, etag_value text, facts jsonb default '{}')
  returns text
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_now     timestamptz;
  v_verdict text;
  v_row     makeready.pack_documents;
  v_file    uuid := makeready.uuid7();
  v_stored  uuid;
  v_product uuid := makeready.uuid7();
begin
  v_verdict := makeready.finish('render', job, token, facts || jsonb_build_object('file_id', v_file, 'bucket', bucket_name,
                                                                                  'key', object_name, 'size_bytes', byte_count));
  if v_verdict <> 'ok' then
    return v_verdict;          -- this lease published it before; the answer was lost
  end if;
  v_now := makeready.now();
  select * into v_row from makeready.pack_documents d where d.job_id = job and d.state = 'queued' for no key update;
  if not found then
    raise exception 'job % renders no document of a pack', job
      using errcode = 'MR404', detail = json_build_object('code', 'job_not_found', 'job_id', job),
            hint = 'Enqueue renders by makeready.render_enqueue, render_pack or render_document.';
  end if;
  v_stored := makeready.file_store(bucket_name, object_name, media_type, byte_count, hash_sha256, etag_value, v_file);
  insert into makeready.artifacts (id, session_id, kind, format, meta, created_at)
  select v_product, p.session_id, v_row.doc_id || '_pdf', 'pdf',
         facts || jsonb_build_object('render_job_id', job, 'pack_id', p.id, 'doc_id', v_row.doc_id, 'language', p.lang,
                                     'type_version', coalesce(facts ->> 'type_version', v_row.type_version)), v_now
    from makeready.packs p where p.id = v_row.pack_id;
  insert into makeready.artifact_files (id, artifact_id, stored_id, filename, created_at)
  values (v_file, v_product, v_stored, v_row.doc_id || '.pdf', v_now);
  update makeready.pack_documents d
     set state = 'ready', file_id = v_file, finished_at = v_now,
         attempts_used = (select j.attempt from makeready.jobs j where j.queue = 'render' and j.id = job)
   where d.seq = v_row.seq;
  update makeready.packs p set open_count = p.open_count - 1 where p.id = v_row.pack_id;
  return v_verdict;
end
$$;
comment on function makeready.render_finish(uuid, uuid, text, text, text, bigint, bytea, text, jsonb) is
  'Ends a render: the job, its artifact and file, the document''s state and the pack''s count in one transaction. ok, or repeat when this lease has done so before. MR001: the lease is lost, nothing is published.';

create or replace function makeready.render_job_turned()
  returns trigger
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_row makeready.pack_documents;
begin
  -- The pack first, as whoever asks for a render does: the entry of its document is the second lock, never the first.
  perform 1 from makeready.packs p
    where p.id = (select d.pack_id from makeready.pack_documents d where d.job_id = new.id) for no key update;
  if new.finished_at is not null then
    update makeready.pack_documents d
       set state = 'failed', attempts_used = new.attempt, finished_at = new.finished_at,
           last_error = coalesce(nullif(new.error, '{}'), jsonb_build_object('code', new.state, 'message', 'the job was ' || new.state))
     where d.job_id = new.id and d.state = 'queued'
    returning * into v_row;
    update makeready.packs p set open_count = p.open_count - 1 where p.id = v_row.pack_id;
    return null;
  end if;
  begin
    update makeready.pack_documents d set state = 'queued', last_error = null, finished_at = null
     where d.job_id = new.id and d.state = 'failed'
       and not exists (select from makeready.pack_documents n where n.pack_id = d.pack_id and n.doc_id = d.doc_id and n.seq > d.seq)
    returning * into v_row;
  exception when unique_violation then
    v_row := null;             -- a later render was asked for at this very moment
  end;
  if v_row.seq is null then
    -- Nobody would look at what this job makes. It ends again by itself: one such job must not stop a redrive of many.
    update makeready.jobs j
       set state = 'cancelled', finished_at = makeready.now(),
           error = jsonb_build_object('code', 'superseded', 'message', 'a later render of this document was asked for')
     where j.queue = 'render' and j.id = new.id;
    return null;
  end if;
  update makeready.packs p set open_count = p.open_count + 1 where p.id = v_row.pack_id;
  return null;
end
$$;
comment on function makeready.render_job_turned() is
  'Carries an end other than success, and an operator''s retry, over to pack_documents and the pack''s count. A retried job whose document has a later render is cancelled again.';

-- A claim, a beat, a retry and a success do not fire it: the hot path pays for one comparison, not for a call.
create or replace trigger render_jobs_reach_the_document
  after update of state on makeready.render_jobs
  for each row
  when (old.state is distinct from new.state
        and (new.state in ('dead', 'cancelled', 'expired') or old.state in ('dead', 'cancelled', 'expired')))
  execute function makeready.render_job_turned();
comment on trigger render_jobs_reach_the_document on makeready.render_jobs is
  'Every end but success, and a retry by an operator, reaches the document.';

grant execute on function makeready.render_types_sync(jsonb) to makeready_http, makeready_worker;
grant execute on function makeready.render_pack_create(uuid, jsonb, text, uuid, text) to makeready_http;
grant execute on function makeready.render_pack(uuid, uuid, text) to makeready_http;
grant execute on function makeready.render_document(uuid, uuid, text, text) to makeready_http;
grant execute on function makeready.render_enqueue(text, jsonb, text, uuid, text, integer, timestamptz, boolean) to makeready_app, makeready_http, makeready_ops;
grant execute on function makeready.render_input(uuid) to makeready_worker, makeready_ops;
grant execute on function makeready.render_finish(uuid, uuid, text, text, text, bigint, bytea, text, jsonb) to makeready_worker;
