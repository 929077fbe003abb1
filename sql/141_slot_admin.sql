-- Slots for staff: what is done with the photos of each, and by whom.
--
-- What an operation needs, and whether settings fit it, is known to `makeready.photo_kinds`: whoever changes a slot locks it
-- (slot_open), looks, and writes (slot_put) in one transaction. What is here holds for psql too: providers exist, and
-- numbers are in their bounds.

create or replace function makeready.slot_refuse(wanted_slot text)
  returns void language plpgsql volatile security definer set search_path = ''
as $$
begin
  raise exception 'there is no slot %', coalesce(quote_literal(wanted_slot), 'null')
    using errcode = 'MR404', detail = json_build_object('code', 'slot_not_found', 'slot_id', wanted_slot), hint = 'There are slot-001 to slot-015.';
end
$$;
comment on function makeready.slot_refuse(text) is 'Raises MR404 slot_not_found. Internal.';

create or replace function makeready.slot_open(wanted_slot text, known integer default null, known_time timestamptz default null)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_row makeready.slots;
begin
  select * into v_row from makeready.slots s where s.id = wanted_slot for no key update;
  if not found then
    perform makeready.slot_refuse(wanted_slot);
  end if;
  if known <> v_row.version or known_time <> v_row.updated_at then
    raise exception '% has changed: it has version % now, of %', wanted_slot, v_row.version, v_row.updated_at
      using errcode = 'MR409', hint = 'Read it again, and decide again.',
            detail = json_build_object('code', 'stale_version', 'slot_id', wanted_slot, 'version', v_row.version, 'updated_at', v_row.updated_at,
                                       'stated', coalesce(known::text, known_time::text));
  end if;
  return v_row.version;
end
$$;
comment on function makeready.slot_open(text, integer, timestamptz) is
  'Locks a slot for a change and returns its version. known or known_time: version or time of what was read. MR404, MR409 stale_version.';

create or replace function makeready.slot_list(by_provider text default null, by_operation text default null, search_text text default null,
    only_this text default null)
  returns table (slot text, title text, provider text, operation text, settings jsonb, chain_after jsonb, takes_photos boolean, most_bytes bigint,
                 most_pixels integer, most_open integer, joins boolean, reset_at timestamptz, row_version integer, made_at timestamptz,
                 changed_at timestamptz, changed_by text, media jsonb)
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select s.id, s.name, s.provider_id, s.operation_id, s.settings_json, s.fallbacks, s.is_enabled, s.max_bytes, s.max_pixels, s.max_open,
         s.joins_resent, s.last_reset_at, s.version, s.created_at, s.updated_at, s.updated_by,
         (select coalesce(jsonb_object_agg(t.setting_key, t.id), '{}') from makeready.slot_templates t where t.slot_id = s.id)
    from makeready.slots s
   where (only_this is null or s.id = only_this)
     and (by_provider is null or s.provider_id = by_provider)
     and (by_operation is null or s.operation_id = by_operation)
     and (search_text is null or strpos(lower(s.id || ' ' || s.name), lower(search_text)) > 0)
   order by s.id
$$;
comment on function makeready.slot_list(text, text, text, text) is
  'Slots, by provider and operation, or with a text in id or name; media: ids of their template media by setting key.';

create or replace function makeready.slot_facts(of_row makeready.slots)
  returns jsonb
  language sql
  immutable
  security definer
  set search_path = ''
as $$
  select jsonb_build_object('name', of_row.name, 'provider_id', of_row.provider_id, 'operation_id', of_row.operation_id,
           'settings_json', of_row.settings_json, 'fallbacks', of_row.fallbacks, 'is_enabled', of_row.is_enabled, 'max_bytes', of_row.max_bytes,
           'max_pixels', of_row.max_pixels, 'max_open', of_row.max_open, 'joins_resent', of_row.joins_resent)
$$;
comment on function makeready.slot_facts(makeready.slots) is 'What may be changed of a slot, as it is now. Internal.';

create or replace function makeready.slot_check(facts jsonb)
  returns void
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select makeready.refuse_problems(coalesce(jsonb_agg(jsonb_build_object('code', 'validation_failed', 'path', p.path, 'message', p.message)
                                                      order by p.path), '[]'))
    from (select k.key, format('a slot has no %s', k.key) from jsonb_object_keys(facts) k (key)
           where k.key not in ('name', 'provider_id', 'operation_id', 'settings_json', 'fallbacks', 'is_enabled', 'max_bytes', 'max_pixels',
                               'max_open', 'joins_resent')
          union all
          select 'name', 'name is one line of 1 to 200 characters'
           where not coalesce(jsonb_typeof(facts -> 'name') = 'string' and length(btrim(facts ->> 'name')) between 1 and 200
                              and facts ->> 'name' !~ '[[:cntrl:]]', false)
          union all
          select 'provider_id', format('there is no provider %s', left(facts ->> 'provider_id', 100))
           where not exists (select from makeready.providers v where v.id = facts ->> 'provider_id')
          union all
          select 'operation_id', 'operation_id is a text of 1 to 100 characters'
           where not coalesce(jsonb_typeof(facts -> 'operation_id') = 'string' and length(facts ->> 'operation_id') between 1 and 100, false)
          union all
          select 'settings_json', 'settings_json is an object of at most 64 KB'
           where not coalesce(jsonb_typeof(facts -> 'settings_json') = 'object' and length(facts ->> 'settings_json') <= 65536, false)
          union all
          select 'fallbacks', 'fallbacks is a list of at most 5 objects with provider_id, operation_id and settings, of at most 64 KB'
           where not coalesce(case jsonb_typeof(facts -> 'fallbacks') when 'array' then jsonb_array_length(facts -> 'fallbacks') <= 5 end
                              and length(facts ->> 'fallbacks') <= 65536, false)
              or facts -> 'fallbacks' @? '$[*] ? (@.type() != "object" || !exists(@.provider_id) || !exists(@.operation_id) || @.settings.type() != "object")'
          union all
          select format('fallbacks[%s].provider_id', f.place - 1), format('there is no provider %s', left(f.step ->> 'provider_id', 100))
            from jsonb_array_elements(case jsonb_typeof(facts -> 'fallbacks') when 'array' then facts -> 'fallbacks' else '[]' end)
                 with ordinality f (step, place)
           where jsonb_typeof(f.step) = 'object'
             and not exists (select from makeready.providers v where v.id = f.step ->> 'provider_id')
          union all
          select b.name, format('%s is true or false', b.name)
            from (values ('is_enabled'), ('joins_resent')) b (name) where jsonb_typeof(facts -> b.name) is distinct from 'boolean'
          union all
          select b.name, format('%s is a whole number from %s to %s', b.name, b.low, b.high)
            from (values ('max_bytes', 1024, 2147483648), ('max_pixels', 10000, 1000000000), ('max_open', 1, 1000)) b (name, low, high)
           where not (b.name = 'max_open' and jsonb_typeof(facts -> 'max_open') = 'null')
             and not coalesce(case jsonb_typeof(facts -> b.name) when 'number'
                                   then (facts ->> b.name)::numeric between b.low and b.high and (facts ->> b.name)::numeric % 1 = 0 end, false)
         ) p (path, message)
$$;
comment on function makeready.slot_check(jsonb) is 'Raises MR422 for what a slot cannot be. Internal.';

create or replace function makeready.slot_put(wanted_slot text, changes jsonb, known integer default null, because text default null)
  returns table (row_version integer, changed_at timestamptz)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_row   makeready.slots;
  v_facts jsonb;
begin
  perform makeready.slot_open(wanted_slot, known);
  select * into v_row from makeready.slots s where s.id = wanted_slot;
  v_facts := makeready.slot_facts(v_row) || changes;
  -- Against provider_delete, which looks for slots behind the same lock.
  perform from makeready.providers v
    where v.id = v_facts ->> 'provider_id' or v_facts -> 'fallbacks' @> jsonb_build_array(jsonb_build_object('provider_id', v.id))
    order by v.id for key share;
  perform makeready.slot_check(v_facts);
  return query
    update makeready.slots s
       set name = btrim(v_facts ->> 'name'), provider_id = v_facts ->> 'provider_id', operation_id = v_facts ->> 'operation_id',
           settings_json = v_facts -> 'settings_json', fallbacks = v_facts -> 'fallbacks', is_enabled = (v_facts ->> 'is_enabled')::boolean,
           max_bytes = (v_facts ->> 'max_bytes')::numeric::bigint, max_pixels = (v_facts ->> 'max_pixels')::numeric::integer,
           max_open = (v_facts ->> 'max_open')::numeric::integer, joins_resent = (v_facts ->> 'joins_resent')::boolean, version = s.version + 1,
           updated_at = greatest(makeready.now(), s.updated_at + interval '1 microsecond'), updated_by = makeready.acting_as()
     where s.id = wanted_slot
    returning s.version, s.updated_at;
  perform makeready.audit('slot_put', wanted_slot, makeready.slot_facts(v_row), v_facts, because);
end
$$;
comment on function makeready.slot_put(text, jsonb, integer, text) is
  'Changes what is named of a slot, for photos from now on: slot_put(''slot-003'', ''{"is_enabled": false}''). Whether settings fit an operation is checked by the service, not here. MR404, MR409 stale_version, MR422. Audited.';

grant execute on function
  makeready.slot_open(text, integer, timestamptz), makeready.slot_list(text, text, text, text), makeready.slot_put(text, jsonb, integer, text)
to makeready_http, makeready_ops;
