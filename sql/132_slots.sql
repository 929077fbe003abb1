-- Slots: fifteen addresses for booths, each with what is done to the photos that come in by it. None is added or removed.

create table if not exists makeready.slots (
  id            text        not null constraint slots_pk primary key constraint slots_id_has_three_digits check (id ~ '^slot-[0-9]{3}$'),
  name          text        not null constraint slots_name_is_short check (length(name) between 1 and 200),
  provider_id   text        not null constraint slots_fk_providers references makeready.providers,
  operation_id  text        not null constraint slots_operation_is_short check (length(operation_id) between 1 and 100),
  settings_json jsonb       not null default '{}' constraint slots_settings_is_an_object check (jsonb_typeof(settings_json) = 'object'),
  fallbacks     jsonb       not null default '[]' constraint slots_fallbacks_is_a_list check (jsonb_typeof(fallbacks) = 'array'),
  is_enabled    boolean     not null default true,
  max_bytes     bigint      not null default 2147483648 constraint slots_max_bytes_is_bounded check (max_bytes between 1024 and 2147483648),
  max_pixels    integer     not null default 100000000 constraint slots_max_pixels_is_bounded check (max_pixels between 10000 and 1000000000),
  max_open      integer     constraint slots_max_open_is_positive check (max_open > 0),
  joins_resent  boolean     not null default false,
  last_reset_at timestamptz,
  version       integer     not null default 1,
  created_at    timestamptz not null,
  updated_at    timestamptz not null,
  updated_by    text
);
create index if not exists slots_of_provider on makeready.slots (provider_id);
comment on table makeready.slots is 'What is done with photos that come in by each of the fifteen slots.';
comment on column makeready.slots.id is 'slot-001 to slot-015; part of the address that a booth posts to.';
comment on column makeready.slots.name is 'Name for people.';
comment on column makeready.slots.provider_id is 'Who processes its photos.';
comment on column makeready.slots.operation_id is 'What is asked of the provider.';
comment on column makeready.slots.settings_json is 'Settings of the operation.';
comment on column makeready.slots.fallbacks is 'Who is asked next when a provider fails: [{provider_id, operation_id, settings}].';
comment on column makeready.slots.is_enabled is 'False: the slot answers as if there were none.';
comment on column makeready.slots.max_bytes is 'Size of an upload at most.';
comment on column makeready.slots.max_pixels is 'Pixels of a photo at most.';
comment on column makeready.slots.max_open is 'Photos of this slot that may be open at a time. Null: only the limit of all holds.';
comment on column makeready.slots.joins_resent is 'Whether an image that comes again while it is being processed, or soon after, is not processed again.';
comment on column makeready.slots.last_reset_at is 'Statistics of the slot count from then on.';
comment on column makeready.slots.version is 'One more with each change, for those who change it.';
comment on column makeready.slots.created_at is 'When it was made.';
comment on column makeready.slots.updated_at is 'When it was last changed.';
comment on column makeready.slots.updated_by is 'Who did that; null: it is as it was made.';
insert into makeready.slots (id, name, provider_id, operation_id, created_at, updated_at)
select 'slot-' || to_char(n, 'FM000'), 'Slot ' || n, 'local', 'echo', makeready.now(), makeready.now() from generate_series(1, 15) n
on conflict do nothing;

create table if not exists makeready.slot_templates (
  id          uuid        not null constraint slot_templates_pk primary key,
  slot_id     text        not null constraint slot_templates_fk_slots references makeready.slots,
  setting_key text        not null constraint slot_templates_key_is_a_word check (setting_key ~ '^[A-Za-z][A-Za-z0-9_.-]{0,59}$'),
  store       text        not null,
  path        text        not null,
  mime        text        not null,
  size_bytes  bigint      not null constraint slot_templates_size_is_positive check (size_bytes > 0),
  checksum    bytea       not null constraint slot_templates_checksum_is_sha256 check (octet_length(checksum) = 32),
  label       text        constraint slot_templates_label_is_short check (length(label) <= 200),
  uploaded_by text        not null,
  created_at  timestamptz not null,
  updated_at  timestamptz not null,
  constraint slot_templates_one_a_setting unique (slot_id, setting_key)
);
comment on table makeready.slot_templates is 'Images of slots: frames, backgrounds, references. They stay until somebody deletes them.';
comment on column makeready.slot_templates.id is 'Stays when the image is replaced; its path does not.';
comment on column makeready.slot_templates.slot_id is 'Whose it is.';
comment on column makeready.slot_templates.setting_key is 'Under which name settings refer to it.';
comment on column makeready.slot_templates.store is 'The media store it lies in.';
comment on column makeready.slot_templates.path is 'Where in it.';
comment on column makeready.slot_templates.mime is 'Its type by its content.';
comment on column makeready.slot_templates.size_bytes is 'Its size.';
comment on column makeready.slot_templates.checksum is 'SHA-256 of its bytes.';
comment on column makeready.slot_templates.label is 'Name for people.';
comment on column makeready.slot_templates.uploaded_by is 'Who uploaded it.';
comment on column makeready.slot_templates.created_at is 'When the first image came under this key.';
comment on column makeready.slot_templates.updated_at is 'When this one came.';
