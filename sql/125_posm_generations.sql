-- POSM, generations and their cards: the rows. See 122_posm for states and locks.

create table if not exists makeready.posm_pairs (
  id            uuid    not null constraint posm_pairs_pk primary key,
  template_id   uuid    not null constraint posm_pairs_fk_posm_templates references makeready.posm_templates on delete cascade,
  restaurant_id uuid    constraint posm_pairs_fk_restaurants references makeready.restaurants,
  author        text,
  last_version  integer not null default 0,
  constraint posm_pairs_author_iff_no_restaurant check ((author is null) = (restaurant_id is not null))
);
create unique index if not exists posm_pairs_of_restaurant on makeready.posm_pairs (template_id, restaurant_id) where restaurant_id is not null;
create unique index if not exists posm_pairs_of_author on makeready.posm_pairs (template_id, author) where restaurant_id is null;
create index if not exists posm_pairs_by_template on makeready.posm_pairs (template_id);
create index if not exists posm_pairs_by_restaurant on makeready.posm_pairs (restaurant_id) where restaurant_id is not null;
comment on table makeready.posm_pairs is 'Who generates what: a restaurant and a template, or an author and a template for bare uuids. Its lock makes presses take turns.';
comment on column makeready.posm_pairs.id is 'Inner id.';
comment on column makeready.posm_pairs.template_id is 'The template.';
comment on column makeready.posm_pairs.restaurant_id is 'The restaurant; null: bare uuids.';
comment on column makeready.posm_pairs.author is 'Whose bare uuids; null: a restaurant''s tables.';
comment on column makeready.posm_pairs.last_version is 'The last version that was given. It only goes up, by one.';

create table if not exists makeready.posm_generations (
  id               uuid        not null constraint posm_generations_pk primary key,
  seq              bigint      not null generated always as identity constraint posm_generations_unique_seq unique,
  pair_id          uuid        not null constraint posm_generations_fk_posm_pairs references makeready.posm_pairs on delete cascade,
  restaurant_id    uuid        constraint posm_generations_fk_restaurants references makeready.restaurants,
  template_id      uuid        not null constraint posm_generations_fk_posm_templates references makeready.posm_templates on delete cascade,
  template_file_id uuid        not null constraint posm_generations_fk_posm_template_files references makeready.posm_template_files,
  version          integer     not null constraint posm_generations_version_is_positive check (version > 0),
  status           text        not null
                               constraint posm_generations_status_is_known check (status in ('created', 'scheduled', 'done', 'error', 'deleted')),
  scope            text        not null constraint posm_generations_scope_is_known check (scope in ('all', 'chosen', 'new', 'uuids')),
  author           text        not null,
  fields           jsonb       not null,
  place_facts      jsonb       not null,
  press_key      text        constraint posm_generations_key_is_short check (length(press_key) between 1 and 255),
  press_hash     bytea,
  tables_total     integer     not null constraint posm_generations_has_tables check (tables_total > 0),
  tables_done      integer     not null default 0,
  stamper          text,
  report           jsonb,
  failure_code       text,
  comment          text        constraint posm_generations_comment_is_short check (length(comment) <= 1000),
  attempts_used    integer     not null default 0,
  created_at       timestamptz not null,
  scheduled_at     timestamptz,
  started_at       timestamptz,
  finished_at      timestamptz,
  purging_at       timestamptz,
  deleted_at       timestamptz,
  constraint posm_generations_key_has_a_hash check ((press_key is null) = (press_hash is null)),
  constraint posm_generations_finished_at_iff_ended check ((finished_at is null) = (status in ('created', 'scheduled'))),
  constraint posm_generations_done_without_a_hole check (status <> 'done' or tables_done = tables_total),
  constraint posm_generations_deleted_at_iff_deleted check ((deleted_at is not null) = (status = 'deleted'))
) with (fillfactor = 90);
create unique index if not exists posm_generations_one_active on makeready.posm_generations (pair_id) where status in ('created', 'scheduled');
create unique index if not exists posm_generations_one_version on makeready.posm_generations (pair_id, version);
create unique index if not exists posm_generations_one_key on makeready.posm_generations (author, press_key) where press_key is not null;
create index if not exists posm_generations_of_pair on makeready.posm_generations (pair_id);
create index if not exists posm_generations_of_restaurant on makeready.posm_generations (restaurant_id, seq) where restaurant_id is not null;
create index if not exists posm_generations_of_template on makeready.posm_generations (template_id, seq);
create index if not exists posm_generations_of_template_file on makeready.posm_generations (template_file_id);
create index if not exists posm_generations_in_line on makeready.posm_generations (status, seq) where status in ('created', 'scheduled');
create index if not exists posm_generations_kept on makeready.posm_generations (pair_id, version) where purging_at is null;
create index if not exists posm_generations_purging on makeready.posm_generations (purging_at) where purging_at is not null and status <> 'deleted';
comment on table makeready.posm_generations is 'Generations: one row a press of the button, for ever; their files go with retention.';
comment on column makeready.posm_generations.id is 'Also the id of its job, and the reference under which files keeps its template and assets.';
comment on column makeready.posm_generations.seq is 'Order of entry: that of lists, and of admission.';
comment on column makeready.posm_generations.pair_id is 'Its pair.';
comment on column makeready.posm_generations.restaurant_id is 'The restaurant; null: bare uuids.';
comment on column makeready.posm_generations.template_id is 'The template.';
comment on column makeready.posm_generations.template_file_id is 'The PDF that the template had.';
comment on column makeready.posm_generations.version is 'Number in its pair, without gaps, never given again.';
comment on column makeready.posm_generations.status is 'created: not admitted yet. scheduled: admitted; in progress while its job runs. done, error: ended. deleted: its files are gone.';
comment on column makeready.posm_generations.scope is 'Which tables: all, chosen, new (since a version), or bare uuids.';
comment on column makeready.posm_generations.author is 'Who pressed: the login, never what the request says.';
comment on column makeready.posm_generations.fields is 'The settings it is made with.';
comment on column makeready.posm_generations.place_facts is 'The restaurant as it was: id, name, city, logo; {} for bare uuids.';
comment on column makeready.posm_generations.press_key is 'Idempotency key of the press, remembered for ever; unique for its author.';
comment on column makeready.posm_generations.press_hash is 'SHA-256 of what was asked for under that key.';
comment on column makeready.posm_generations.tables_total is 'Cards it has.';
comment on column makeready.posm_generations.tables_done is 'Cards that are stored and verified.';
comment on column makeready.posm_generations.stamper is 'Version of the stamper that makes its cards; the next attempt with another one begins anew.';
comment on column makeready.posm_generations.report is 'What the worker said when it was done: times, figures.';
comment on column makeready.posm_generations.failure_code is 'Why it failed: a code of docs/table-cards.md, or how its job ended.';
comment on column makeready.posm_generations.comment is 'Why it failed, in words, naming the table.';
comment on column makeready.posm_generations.attempts_used is 'Attempts it took; while active the job knows.';
comment on column makeready.posm_generations.created_at is 'When the button was pressed.';
comment on column makeready.posm_generations.scheduled_at is 'When it was admitted.';
comment on column makeready.posm_generations.started_at is 'When a worker first took it.';
comment on column makeready.posm_generations.finished_at is 'When it ended.';
comment on column makeready.posm_generations.purging_at is 'Since when retention is deleting its files: from then on nothing of it can be downloaded.';
comment on column makeready.posm_generations.deleted_at is 'When the last of them was gone.';

create table if not exists makeready.posm_cards (
  id            uuid        not null constraint posm_cards_pk primary key,
  generation_id uuid        not null constraint posm_cards_fk_posm_generations references makeready.posm_generations on delete cascade,
  place         integer     not null,
  table_id      uuid        not null,
  label         text        not null,
  row_data      jsonb       not null,
  stored_id     uuid,
  size_bytes    bigint,
  sha256        bytea,
  crc32         bigint      constraint posm_cards_crc32_fits check (crc32 between 0 and 4294967295),
  evidence      jsonb,
  made_at       timestamptz,
  constraint posm_cards_unique_table unique (generation_id, table_id),
  constraint posm_cards_unique_place unique (generation_id, place),
  constraint posm_cards_stored_with_its_facts check ((stored_id is null) = (made_at is null)
    and (stored_id is null or (size_bytes is not null and sha256 is not null and crc32 is not null)))
) with (fillfactor = 70);
create index if not exists posm_cards_of_table on makeready.posm_cards (table_id, generation_id);
comment on table makeready.posm_cards is 'Cards: one row a table of a generation, frozen when it was asked for.';
comment on column makeready.posm_cards.id is 'Also the reference under which files keeps its PDF.';
comment on column makeready.posm_cards.generation_id is 'The generation.';
comment on column makeready.posm_cards.place is 'Its place in the order of tables, from 0.';
comment on column makeready.posm_cards.table_id is 'The table''s uuid, known or bare; no foreign key, since bare ones belong to nobody.';
comment on column makeready.posm_cards.label is 'The table''s number as it was.';
comment on column makeready.posm_cards.row_data is 'What its values are read from: {table: {…}, row: {…}}.';
comment on column makeready.posm_cards.stored_id is 'Its PDF in files; null: not made yet. No foreign key: retention lets the file go and the card stays.';
comment on column makeready.posm_cards.size_bytes is 'Size of the PDF.';
comment on column makeready.posm_cards.sha256 is 'SHA-256 of the PDF.';
comment on column makeready.posm_cards.crc32 is 'CRC-32 of the PDF, for archives.';
comment on column makeready.posm_cards.evidence is 'What verification saw.';
comment on column makeready.posm_cards.made_at is 'When it was stored.';

create or replace trigger posm_generations_let_go
  after delete on makeready.posm_generations referencing old table as gone
  for each statement execute function makeready.file_referrers_gone();
comment on trigger posm_generations_let_go on makeready.posm_generations is 'Templates and assets that only a deleted generation needed are deleted with the unused files.';

create or replace trigger posm_cards_let_go
  after delete on makeready.posm_cards referencing old table as gone
  for each statement execute function makeready.file_referrers_gone();
comment on trigger posm_cards_let_go on makeready.posm_cards is 'PDFs of deleted cards are deleted with the unused files.';

create or replace function makeready.posm_state(stored_state text, job_state text)
  returns text language sql immutable security definer set search_path = ''
as $$ select case when stored_state = 'scheduled' and job_state = 'running' then 'in-progress' else stored_state end $$;
comment on function makeready.posm_state(text, text) is
  'The public state of a generation, from its row and its job: created, scheduled, in-progress, done, error or deleted.';
