-- Providers for staff: their options, how many photos each may have, and their keys.
--
-- A key comes sealed (makeready.sealing) and leaves sealed, to the process that calls the provider and to nobody else: no
-- function for staff returns one. Several keys take turns; one that was refused rests.

create or replace function makeready.provider_refuse(wanted text)
  returns void language plpgsql volatile security definer set search_path = ''
as $$
begin
  raise exception 'there is no provider %', coalesce(quote_literal(wanted), 'null')
    using errcode = 'MR404', detail = json_build_object('code', 'provider_not_found', 'provider_id', wanted),
          hint = 'makeready.provider_list() lists them.';
end
$$;
comment on function makeready.provider_refuse(text) is 'Raises MR404 provider_not_found. Internal.';

create or replace function makeready.provider_list(only_this text default null)
  returns table (provider text, driver text, label_text text, provider_options jsonb, at_a_time integer, is_asked boolean, row_version integer,
                 made_at timestamptz, changed_at timestamptz, changed_by text, key_facts jsonb, slots_of_it text[])
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select v.id, v.kind, v.title, v.options, v.max_parallel, v.is_enabled, v.version, v.created_at, v.updated_at, v.updated_by,
         (select coalesce(jsonb_agg(jsonb_build_object('id', k.id, 'label', k.label, 'created_at', k.created_at, 'updated_at', k.updated_at,
                   'updated_by', k.updated_by, 'rests_until', case when k.rests_until > makeready.now() then k.rests_until end,
                   'rests_why', case when k.rests_until > makeready.now() then k.rests_why end) order by k.created_at, k.id), '[]')
            from makeready.provider_keys k where k.provider_id = v.id),
         array(select s.id from makeready.slots s
                where s.provider_id = v.id or s.fallbacks @> jsonb_build_array(jsonb_build_object('provider_id', v.id)) order by s.id)
    from makeready.providers v
   where only_this is null or v.id = only_this
   order by v.id
$$;
comment on function makeready.provider_list(text) is 'Providers, with what is known of their keys (never the keys) and the slots that ask them.';

create or replace function makeready.provider_facts(of_row makeready.providers)
  returns jsonb
  language sql
  immutable
  security definer
  set search_path = ''
as $$
  select jsonb_build_object('kind', of_row.kind, 'name', of_row.title, 'options', of_row.options, 'max_parallel', of_row.max_parallel,
                            'is_enabled', of_row.is_enabled)
$$;
comment on function makeready.provider_facts(makeready.providers) is 'What may be changed of a provider, and its kind. Internal.';

create or replace function makeready.provider_check(facts jsonb)
  returns void
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select makeready.refuse_problems(coalesce(jsonb_agg(jsonb_build_object('code', 'validation_failed', 'path', p.path, 'message', p.message)
                                                      order by p.path), '[]'))
    from (select k.key, format('a provider has no %s', k.key) from jsonb_object_keys(facts) k (key)
           where k.key not in ('kind', 'name', 'options', 'max_parallel', 'is_enabled')
          union all
          select 'name', 'name is one line of 1 to 200 characters'
           where not coalesce(jsonb_typeof(facts -> 'name') = 'string' and length(btrim(facts ->> 'name')) between 1 and 200
                              and facts ->> 'name' !~ '[[:cntrl:]]', false)
          union all
          select 'options', 'options is an object of at most 64 KB'
           where not coalesce(jsonb_typeof(facts -> 'options') = 'object' and length(facts ->> 'options') <= 65536, false)
          union all
          select 'is_enabled', 'is_enabled is true or false' where jsonb_typeof(facts -> 'is_enabled') is distinct from 'boolean'
          union all
          select 'max_parallel', 'max_parallel is a whole number from 0 to 1000, or null'
           where not coalesce(case jsonb_typeof(facts -> 'max_parallel') when 'null' then true when 'number'
                                   then (facts ->> 'max_parallel')::numeric between 0 and 1000 and (facts ->> 'max_parallel')::numeric % 1 = 0 end, false)
         ) p (path, message)
$$;
comment on function makeready.provider_check(jsonb) is 'Raises MR422 for what a provider cannot be. Internal.';

create or replace function makeready.provider_put(provider text, changes jsonb, known integer default null, because text default null)
  returns table (verdict text, row_version integer)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_verdict text := 'changed';
  v_row     makeready.providers;
  v_facts   jsonb;
begin
  if changes ? 'kind' and not exists (select from makeready.providers v where v.id = provider) then
    perform makeready.refuse_problems(coalesce(jsonb_agg(jsonb_build_object('code', 'validation_failed', 'path', p.path, 'message', p.message)), '[]'))
      from (select 'id', 'the id of a provider is 1 to 40 of a-z 0-9 _ -, a letter first' where coalesce(provider, '') !~ '^[a-z][a-z0-9_-]{0,39}$'
            union all
            select 'kind', 'kind is gemini, turbotext, openai, replicate, fal, webhook or local'
             where coalesce(changes ->> 'kind', '') not in ('gemini', 'turbotext', 'openai', 'replicate', 'fal', 'webhook', 'local')) p (path, message);
    if makeready.provider_create(provider, changes ->> 'kind', provider) then
      v_verdict := 'created';
    end if;
  end if;
  select * into v_row from makeready.providers v where v.id = provider for no key update;
  if not found then
    perform makeready.provider_refuse(provider);
  end if;
  perform makeready.refuse_stale('provider ' || provider, known, v_row.version);
  if changes ->> 'kind' <> v_row.kind then
    raise exception 'provider % is of kind %', provider, v_row.kind
      using errcode = 'MR409', detail = json_build_object('code', 'conflict', 'reason', 'kind', 'provider_id', provider, 'kind', v_row.kind),
            hint = 'Make another provider.';
  end if;
  v_facts := makeready.provider_facts(v_row) || changes;
  perform makeready.provider_check(v_facts);
  update makeready.providers v
     set title = btrim(v_facts ->> 'name'), options = v_facts -> 'options', max_parallel = (v_facts ->> 'max_parallel')::numeric::integer,
         is_enabled = (v_facts ->> 'is_enabled')::boolean, version = case v_verdict when 'created' then 1 else v.version + 1 end,
         updated_at = makeready.now(), updated_by = makeready.acting_as()
   where v.id = provider
  returning v.version into v_row.version;
  if v_row.max_parallel is distinct from (v_facts ->> 'max_parallel')::numeric::integer then
    perform makeready.lane_set('ingest', provider, (v_facts ->> 'max_parallel')::numeric::integer, because);
  end if;
  perform makeready.audit('provider_put', provider, case v_verdict when 'changed' then makeready.provider_facts(v_row) end, v_facts, because);
  return query select v_verdict, v_row.version;
end
$$;
comment on function makeready.provider_put(text, jsonb, integer, text) is
  'Changes what is named of a provider (name, options, max_parallel, is_enabled), for photos from now on; with kind it makes a new one. Whether options fit the kind is checked by the service, not here. MR404, MR409 stale_version or kind, MR422. Audited.';

create or replace function makeready.provider_delete(wanted text, known integer default null, because text default null)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_row   makeready.providers;
  v_slots text[];
  v_why   text;
begin
  select * into v_row from makeready.providers v where v.id = wanted for update;
  if not found then
    perform makeready.provider_refuse(wanted);
  end if;
  perform makeready.refuse_stale('provider ' || wanted, known, v_row.version);
  v_slots := array(select s.id from makeready.slots s
                    where s.provider_id = wanted or s.fallbacks @> jsonb_build_array(jsonb_build_object('provider_id', wanted)) order by s.id);
  v_why := case when v_slots <> '{}' then 'in_use'
                when wanted in ('gemini', 'turbotext', 'openai', 'replicate', 'fal', 'webhook', 'local') then 'shipped' end;
  if v_why is not null then
    raise exception 'provider % %', wanted, case v_why when 'in_use' then 'is asked by ' || array_to_string(v_slots, ', ') else 'is part of the product' end
      using errcode = 'MR409', detail = json_build_object('code', 'conflict', 'reason', v_why, 'provider_id', wanted, 'slots', v_slots),
            hint = case v_why when 'in_use' then 'Give those slots another provider first.' else 'It can be switched off: is_enabled.' end;
  end if;
  delete from makeready.providers v where v.id = wanted;   -- its lane stays: a photo may still be in it
  perform makeready.audit('provider_delete', wanted, makeready.provider_facts(v_row), null, because);
end
$$;
comment on function makeready.provider_delete(text, integer, text) is
  'Deletes a provider that staff has made and no slot asks, with its keys. MR404, MR409. Audited.';

create or replace function makeready.provider_key_put(provider text, new_key uuid, seal_nonce bytea, seal_text bytea, called text default '',
    because text default null)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_now timestamptz;
begin
  perform from makeready.providers v where v.id = provider for no key update;
  if not found then
    perform makeready.provider_refuse(provider);
  end if;
  if (select count(*) from makeready.provider_keys k where k.provider_id = provider) >= 20 then
    raise exception 'provider % has 20 keys', provider
      using errcode = 'MR422', detail = json_build_object('path', 'provider_keys.' || provider), hint = 'Remove one first.';
  end if;
  v_now := makeready.now();
  insert into makeready.provider_keys (id, provider_id, label, nonce, sealed, created_at, updated_at, updated_by)
  values (new_key, provider, left(called, 100), seal_nonce, seal_text, v_now, v_now, makeready.acting_as());
  perform makeready.audit('provider_key_put', provider, null, jsonb_build_object('key_id', new_key, 'label', called), because);
end
$$;
comment on function makeready.provider_key_put(text, uuid, bytea, bytea, text, text) is
  'Gives a provider one more key, sealed for its name and this id; 20 at most. MR404, MR422. Audited, without the key.';

create or replace function makeready.provider_keys_drop(provider text, old_keys uuid[] default null, because text default null)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_gone jsonb;
begin
  perform from makeready.providers v where v.id = provider for no key update;
  if not found then
    perform makeready.provider_refuse(provider);
  end if;
  with gone as (delete from makeready.provider_keys k where k.provider_id = provider and (old_keys is null or k.id = any (old_keys))
                returning k.id, k.label)
  select coalesce(jsonb_agg(jsonb_build_object('key_id', g.id, 'label', g.label) order by g.id), '[]') into v_gone from gone g;
  if v_gone <> '[]' then
    perform makeready.audit('provider_keys_drop', provider, v_gone, null, because);
  end if;
  return jsonb_array_length(v_gone);
end
$$;
comment on function makeready.provider_keys_drop(text, uuid[], text) is
  'Takes keys from a provider, all of them without a list; how many there were. Photos that are being processed may still use them. MR404. Audited.';

create or replace function makeready.provider_key_reseal(old_key uuid, known integer, seal_nonce bytea, seal_text bytea)
  returns boolean
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  update makeready.provider_keys k
     set nonce = seal_nonce, sealed = seal_text, version = k.version + 1, updated_at = makeready.now(), updated_by = makeready.acting_as()
   where k.id = old_key and k.version = known;
  if found then
    perform makeready.audit('provider_key_reseal', old_key::text, null, null, null);
  end if;
  return found;
end
$$;
comment on function makeready.provider_key_reseal(uuid, integer, bytea, bytea) is
  'Keeps the same key under another master key, unless it was changed meanwhile; whether it did. Audited.';

create or replace function makeready.provider_keys_sealed()
  returns table (provider text, key_id uuid, seal_nonce bytea, seal_text bytea, row_version integer)
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select k.provider_id, k.id, k.nonce, k.sealed, k.version from makeready.provider_keys k order by k.provider_id, k.created_at, k.id
$$;
comment on function makeready.provider_keys_sealed() is 'All keys as they are kept, to see whether a master key opens them, and to seal them anew.';

create or replace function makeready.provider_steps()
  returns jsonb
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  with used as (
    select s.provider_id as id from makeready.slots s where s.is_enabled
    union
    select f.step ->> 'provider_id' from makeready.slots s cross join jsonb_array_elements(s.fallbacks) f (step) where s.is_enabled
  )
  select coalesce(jsonb_agg(jsonb_build_object(
           'provider', p.id, 'kind', p.kind, 'options', p.options, 'max_parallel', p.max_parallel, 'operation', '', 'settings', '{}'::jsonb,
           'keys', (select coalesce(jsonb_agg(jsonb_build_object('id', k.id, 'nonce', encode(k.nonce, 'hex'), 'sealed', encode(k.sealed, 'hex'))
                                              order by k.rests_until nulls first, k.created_at, k.id), '[]')
                      from makeready.provider_keys k where k.provider_id = p.id))
           order by p.id), '[]')
    from makeready.providers p join used u on u.id = p.id
   where p.is_enabled
$$;
comment on function makeready.provider_steps() is
  'Providers that an enabled slot may ask, as ingest_begin gives them, with all their keys: to see whether they are there.';
grant execute on function makeready.provider_steps() to makeready_worker;

grant execute on function makeready.provider_list(text), makeready.provider_put(text, jsonb, integer, text), makeready.provider_delete(text, integer, text),
  makeready.provider_keys_drop(text, uuid[], text)
to makeready_http, makeready_ops;
grant execute on function makeready.provider_key_put(text, uuid, bytea, bytea, text, text), makeready.provider_key_reseal(uuid, integer, bytea, bytea),
  makeready.provider_keys_sealed()
to makeready_http;
