-- Document types: the registry of what can be printed, and every version of it.
--
-- A *document type* is a template with what belongs to it: schema of the data, words, print options, samples, assets.
-- Some are shipped with the program; staff bring more, or versions of their own of a shipped one. A *version* has a hash
-- over its whole content, so a render pins what prints it by naming the hash.
--
--   draft ──check──► valid ──trial render, publish──► published ──next publish, rollback──► retired
--     ▲ └──check──► invalid
--     └── update, from draft, valid or invalid, which may also be discarded
--
-- At most one version of a type is published: the one in force. What was in force once never changes. A shipped version
-- is entered by the process that ships it, and is in force as long as staff have published none; else it waits, and is
-- what a rollback goes back to.
--
-- `document_types` repeats what lists need of the version in force; what staff decided by hand is laid over it.
-- Whoever changes a type or one of its versions locks its row here first.

create table if not exists makeready.document_types (
  id                   text        not null constraint document_types_pk primary key
                                   constraint document_types_id_is_a_word check (id ~ '^[a-z][a-z0-9_]{0,62}$'),
  title_ru             text        not null constraint document_types_title_ru_is_short check (length(title_ru) between 1 and 200),
  title_en             text        not null constraint document_types_title_en_is_short check (length(title_en) between 1 and 200),
  description_ru       text        not null default '' constraint document_types_description_ru_is_short check (length(description_ru) <= 2000),
  description_en       text        not null default '' constraint document_types_description_en_is_short check (length(description_en) <= 2000),
  tier                 text        not null default 'free' constraint document_types_tier_is_known check (tier in ('free', 'paid')),
  is_enabled           boolean     not null default true,
  is_shipped           boolean     not null default true,
  title_by_staff       text        constraint document_types_staff_title_is_short check (length(title_by_staff) between 1 and 200),
  description_by_staff text        constraint document_types_staff_description_is_short check (length(description_by_staff) <= 2000),
  enabled_by_staff     boolean,
  tier_by_staff        text        constraint document_types_staff_tier_is_known check (tier_by_staff in ('free', 'paid')),
  version              text        not null default '',
  shipped_version      text        not null default '',
  shipped_by           integer[],
  synced_at            timestamptz not null
);
alter table makeready.document_types
  add column if not exists description_ru text not null default ''
    constraint document_types_description_ru_is_short check (length(description_ru) <= 2000),
  add column if not exists description_en text not null default ''
    constraint document_types_description_en_is_short check (length(description_en) <= 2000),
  add column if not exists title_by_staff text constraint document_types_staff_title_is_short check (length(title_by_staff) between 1 and 200),
  add column if not exists description_by_staff text
    constraint document_types_staff_description_is_short check (length(description_by_staff) <= 2000),
  add column if not exists shipped_version text not null default '',
  add column if not exists shipped_by integer[];
comment on table makeready.document_types is 'The registry of documents: of each type what its version in force says, with what staff decided laid over it.';
comment on column makeready.document_types.id is 'The public doc_id.';
comment on column makeready.document_types.title_ru is 'Title in Russian.';
comment on column makeready.document_types.title_en is 'Title in English.';
comment on column makeready.document_types.description_ru is 'Description in Russian.';
comment on column makeready.document_types.description_en is 'Description in English.';
comment on column makeready.document_types.tier is 'free or paid, as the version says. Informs; nothing is refused by it.';
comment on column makeready.document_types.is_enabled is 'Enabled, as the version says.';
comment on column makeready.document_types.is_shipped is 'Whether the release that synced last ships a type of this id.';
comment on column makeready.document_types.title_by_staff is 'Overrides both titles; null: as the version says.';
comment on column makeready.document_types.description_by_staff is 'Overrides both descriptions; null: as the version says.';
comment on column makeready.document_types.enabled_by_staff is 'Overrides is_enabled; null: as the version says.';
comment on column makeready.document_types.tier_by_staff is 'Overrides tier; null: as the version says.';
comment on column makeready.document_types.version is 'Hash of the version in force; empty: there is none, and nothing can be printed.';
comment on column makeready.document_types.shipped_version is 'Hash of the version that the release ships; empty: it ships none.';
comment on column makeready.document_types.shipped_by is 'The latest release that said what it ships, as numbers; an older one changes nothing any more.';
comment on column makeready.document_types.synced_at is 'When the row last changed by a sync.';

create table if not exists makeready.document_type_versions (
  id           uuid        not null constraint document_type_versions_pk primary key,
  doc_id       text        not null constraint document_type_versions_fk_document_types references makeready.document_types on delete cascade,
  number       integer     not null constraint document_type_versions_number_is_positive check (number > 0),
  origin       text        not null constraint document_type_versions_origin_is_known check (origin in ('shipped', 'staff')),
  hash         text        not null constraint document_type_versions_hash_is_short check (length(hash) between 1 and 64),
  design       jsonb       not null constraint document_type_versions_design_is_an_object check (jsonb_typeof(design) = 'object'),
  state        text        not null
               constraint document_type_versions_state_is_known check (state in ('draft', 'valid', 'invalid', 'published', 'retired')),
  problems     jsonb       not null default '[]' constraint document_type_versions_problems_are_a_list check (jsonb_typeof(problems) = 'array'),
  remark       text        constraint document_type_versions_remark_is_short check (length(remark) <= 2000),
  made_by      text        not null,
  created_at   timestamptz not null,
  changed_at   timestamptz not null,
  checked_at   timestamptz,
  trial_job    uuid,
  publication  integer,
  published_at timestamptz,
  constraint document_type_versions_unique_number unique (doc_id, number),
  constraint document_type_versions_published_has_its_place check (state <> 'published' or (publication is not null and published_at is not null))
);
create unique index if not exists document_type_versions_one_published on makeready.document_type_versions (doc_id) where state = 'published';
create unique index if not exists document_type_versions_unique_publication on makeready.document_type_versions (doc_id, publication)
  where publication is not null;
create index if not exists document_type_versions_of_hash on makeready.document_type_versions (doc_id, hash);
comment on table makeready.document_type_versions is 'Versions of document types: drafts, and everything that was ever in force.';
comment on column makeready.document_type_versions.id is 'Also the reference under which files keeps its assets.';
comment on column makeready.document_type_versions.doc_id is 'The document type.';
comment on column makeready.document_type_versions.number is 'Counts up in its type.';
comment on column makeready.document_type_versions.origin is 'shipped with a release, or made by staff.';
comment on column makeready.document_type_versions.hash is 'Over the whole content: what renders pin, and what If-Match compares.';
comment on column makeready.document_type_versions.design is 'titles, descriptions, tier, enabled, print, schema, words, sources, samples, and of each asset media type, size and SHA-256.';
comment on column makeready.document_type_versions.state is 'draft, valid, invalid, published or retired: was in force.';
comment on column makeready.document_type_versions.problems is 'What the last check found: code, path, message, hint of each.';
comment on column makeready.document_type_versions.remark is 'Why, in the words of whoever made or changed it.';
comment on column makeready.document_type_versions.made_by is 'Who made or changed it.';
comment on column makeready.document_type_versions.created_at is 'When it was made.';
comment on column makeready.document_type_versions.changed_at is 'When its content last changed.';
comment on column makeready.document_type_versions.checked_at is 'When it was last checked.';
comment on column makeready.document_type_versions.trial_job is 'The job of its last trial render.';
comment on column makeready.document_type_versions.publication is 'Its place in the order of publications; null: never published, or rolled back.';
comment on column makeready.document_type_versions.published_at is 'When it last came into force.';

create or replace function makeready.render_is_enabled(kind_of makeready.document_types)
  returns boolean language sql immutable security definer set search_path = ''
as $$ select kind_of.version <> '' and coalesce(kind_of.enabled_by_staff, kind_of.is_enabled) $$;
comment on function makeready.render_is_enabled(makeready.document_types) is
  'Whether a document can be rendered: a version is in force, and it is enabled by staff or, where they said nothing, by the version.';

create or replace function makeready.document_title(kind_of makeready.document_types, language_code text)
  returns text language sql immutable security definer set search_path = ''
as $$ select coalesce(kind_of.title_by_staff, case language_code when 'ru' then kind_of.title_ru else kind_of.title_en end) $$;
comment on function makeready.document_title(makeready.document_types, text) is 'What a document is called in a language.';

create or replace function makeready.refuse_document(document text)
  returns void language plpgsql volatile security definer set search_path = ''
as $$
begin
  raise exception 'there is no document %', coalesce(quote_literal(document), 'null')
    using errcode = 'MR404', detail = json_build_object('code', 'document_not_found', 'doc_id', document),
          hint = 'select id from makeready.document_types lists them.';
end
$$;
comment on function makeready.refuse_document(text) is 'Raises MR404 for a document type that is unknown.';

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
    perform makeready.refuse_document(document);
  end if;
  if not makeready.render_is_enabled(v_type) then
    raise exception 'the document % is disabled', document
      using errcode = 'MR422', detail = json_build_object('code', 'invalid_request', 'reason', 'document_disabled', 'doc_id', document),
            hint = 'Staff enable it again by makeready.document_overlay_set, or publish a version of it.';
  end if;
  return v_type;
end
$$;
comment on function makeready.render_type(text) is 'The document type if it can be rendered: MR404 when unknown, MR422 when disabled.';
