-- Providers: who processes photos, with which options, and with which keys.
--
-- Each has a lane of the queue `ingest` with its name: how many photos are with it at a time, over all hosts. A photo is in
-- the lane of the first provider of its chain.

create table if not exists makeready.providers (
  id           text        not null constraint providers_pk primary key
                           constraint providers_id_is_a_word check (id ~ '^[a-z][a-z0-9_-]{0,39}$'),
  kind         text        not null
                           constraint providers_kind_is_known check (kind in ('gemini', 'turbotext', 'openai', 'replicate', 'fal', 'webhook', 'local')),
  title        text        not null constraint providers_title_is_short check (length(title) between 1 and 200),
  options      jsonb       not null default '{}' constraint providers_options_is_an_object check (jsonb_typeof(options) = 'object'),
  max_parallel integer     constraint providers_max_parallel_is_bounded check (max_parallel between 0 and 1000),
  is_enabled   boolean     not null default true,
  version      integer     not null default 1,
  created_at   timestamptz not null,
  updated_at   timestamptz not null,
  updated_by   text
);
comment on table makeready.providers is 'Who processes photos.';
comment on column makeready.providers.id is 'Name, and that of its lane.';
comment on column makeready.providers.kind is 'Which driver speaks with it.';
comment on column makeready.providers.title is 'Name for people.';
comment on column makeready.providers.options is 'What its kind knows: base_url, limits, prices, retry rules.';
comment on column makeready.providers.max_parallel is 'Photos that may be with it at a time; its lane has the same. Null: only the workers limit.';
comment on column makeready.providers.is_enabled is 'False: nothing is asked of it, slots that begin with it take no photo.';
comment on column makeready.providers.version is 'One more with each change, for those who change it.';
comment on column makeready.providers.created_at is 'When it was made.';
comment on column makeready.providers.updated_at is 'When it was last changed.';
comment on column makeready.providers.updated_by is 'Who did that; null: it is as it was made.';

create table if not exists makeready.provider_keys (
  id          uuid        not null constraint provider_keys_pk primary key,
  provider_id text        not null constraint provider_keys_fk_providers references makeready.providers on delete cascade,
  label       text        not null default '' constraint provider_keys_label_is_short check (length(label) <= 100),
  nonce       bytea       not null constraint provider_keys_nonce_is_whole check (octet_length(nonce) = 12),
  sealed      bytea       not null constraint provider_keys_sealed_is_small check (octet_length(sealed) between 17 and 8192),
  rests_until timestamptz,
  rests_why   text        constraint provider_keys_why_is_short check (length(rests_why) <= 200),
  version     integer     not null default 1,
  created_at  timestamptz not null,
  updated_at  timestamptz not null,
  updated_by  text
);
create index if not exists provider_keys_of_provider on makeready.provider_keys (provider_id, created_at);
comment on table makeready.provider_keys is 'Keys of providers, encrypted by AES-256-GCM with a master key that is not in here. No role reads this table.';
comment on column makeready.provider_keys.id is 'The key is sealed for its provider and this id.';
comment on column makeready.provider_keys.provider_id is 'The provider.';
comment on column makeready.provider_keys.label is 'Name for people, to tell several keys apart.';
comment on column makeready.provider_keys.nonce is 'Of the encryption; never used twice.';
comment on column makeready.provider_keys.sealed is 'The encrypted key and its tag.';
comment on column makeready.provider_keys.rests_until is 'Not used until then: it was refused, or its quota is used up.';
comment on column makeready.provider_keys.rests_why is 'What the provider said.';
comment on column makeready.provider_keys.version is 'One more each time it is sealed anew.';
comment on column makeready.provider_keys.created_at is 'When it was entered.';
comment on column makeready.provider_keys.updated_at is 'When it was last sealed.';
comment on column makeready.provider_keys.updated_by is 'Who did that.';

create or replace function makeready.provider_create(provider text, driver text, label_text text, at_a_time integer default null,
    provider_options jsonb default '{}')
  returns boolean
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  insert into makeready.providers (id, kind, title, options, max_parallel, created_at, updated_at)
  values (provider, driver, label_text, provider_options, at_a_time, makeready.now(), makeready.now())
  on conflict do nothing;
  if not found then
    return false;
  end if;
  insert into makeready.lanes (queue, lane, max_in_flight) values ('ingest', provider, at_a_time)
  on conflict on constraint lanes_pk do update set max_in_flight = excluded.max_in_flight;
  perform makeready.queue_gate('ingest');
  return true;
end
$$;
comment on function makeready.provider_create(text, text, text, integer, jsonb) is
  'Makes a provider and its lane; false: it exists, and keeps what operators have given it. Internal: SQL files and provider_put call it.';

-- What they take is in their drivers; what is here is what differs between two accounts.
select makeready.provider_create('gemini', 'gemini', 'Gemini', 4);
select makeready.provider_create('turbotext', 'turbotext', 'Turbotext', 2);
select makeready.provider_create('openai', 'openai', 'OpenAI', 4);
select makeready.provider_create('replicate', 'replicate', 'Replicate', 4);
select makeready.provider_create('fal', 'fal', 'fal', 4);
select makeready.provider_create('webhook', 'webhook', 'Webhook', 4);
select makeready.provider_create('local', 'local', 'Local');
