-- POSM, pressing the button: which tables, the pair's lock, everything frozen. See 122_posm for the locks.

create or replace function makeready.posm_refuse(problem_code text, where_at text, message text, facts jsonb default '{}')
  returns void
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select makeready.refuse_problems(jsonb_build_array(jsonb_build_object('code', problem_code, 'path', where_at, 'message', message) || facts))
$$;
comment on function makeready.posm_refuse(text, text, text, jsonb) is 'Raises MR422 with one problem. Internal.';

create or replace function makeready.posm_bare(cards jsonb)
  returns table (place integer, table_uuid uuid, label text, row_data jsonb)
  language plpgsql
  stable
  security definer
  set search_path = ''
as $$
declare
  v_problems jsonb;
begin
  if jsonb_typeof(cards) <> 'array' or jsonb_array_length(cards) > 5000 then
    perform makeready.posm_refuse('validation_failed', 'uuids', 'uuids is a list of at most 5000 {uuid, number, …}');
  end if;
  with g as (
    select e.place - 1 as place, lower(case jsonb_typeof(e.entry) when 'object' then e.entry ->> 'uuid' end) as word, e.entry,
           row_number() over (partition by lower(case jsonb_typeof(e.entry) when 'object' then e.entry ->> 'uuid' end) order by e.place) as nth
      from jsonb_array_elements(cards) with ordinality e (entry, place)
  )
  select coalesce(jsonb_agg(jsonb_build_object('code', f.code, 'path', format('uuids[%s]', f.place), 'message', format('uuids[%s]: %s', f.place, f.message))
                            order by f.place), '[]') into v_problems
    from (select g.place, 'validation_failed', 'it needs a uuid' from g
           where coalesce(g.word !~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$', true)
          union all
          select g.place, 'duplicate', format('uuid %s is there twice', g.word) from g where g.word is not null and g.nth > 1
          union all
          select g.place, 'validation_failed', format('there is no %s', k.key) from g cross join lateral jsonb_object_keys(g.entry) k (key)
           where jsonb_typeof(g.entry) = 'object' and k.key not in ('uuid', 'number', 'name', 'section', 'seats', 'url', 'row')
          union all
          select g.place, 'validation_failed', 'number, name and section are lines of at most 200 characters, seats is a whole number' from g
           where jsonb_typeof(g.entry) = 'object'
             and (exists (select from unnest(array['number', 'name', 'section']) k (key)
                           where jsonb_typeof(g.entry -> k.key) not in ('string', 'null') or length(g.entry ->> k.key) > 200
                              or g.entry ->> k.key ~ '[[:cntrl:]]')
                  or jsonb_typeof(g.entry -> 'seats') not in ('number', 'null') or g.entry @? '$.seats ? (@ != @.floor() || @ < 0 || @ > 1000)')
          union all
          select g.place, 'validation_failed', 'row is an object of texts, numbers and nulls, of at most 16 KB' from g
           where jsonb_typeof(g.entry -> 'row') not in ('object', 'null') or g.entry @? '$.row.* ? (@.type() == "object" || @.type() == "array" || @.type() == "boolean")'
              or length(g.entry ->> 'row') > 16384
          union all
          select g.place, 'value_not_url', 'url is a link that begins with http:// or https:// and has no spaces' from g
           where jsonb_typeof(g.entry) = 'object' and jsonb_typeof(g.entry -> 'url') <> 'null'
             and not coalesce(length(g.entry ->> 'url') <= 2000 and g.entry ->> 'url' ~ '^https?://[^\s/]+\S*$', false)) f (place, code, message);
  perform makeready.refuse_problems(v_problems);
  return query
    select (e.place - 1)::integer, (e.entry ->> 'uuid')::uuid, coalesce(nullif(btrim(e.entry ->> 'number'), ''), e.place::text),
           jsonb_build_object(
             'table', jsonb_build_object('id', (e.entry ->> 'uuid')::uuid, 'uuid', (e.entry ->> 'uuid')::uuid,
                        'number', coalesce(nullif(btrim(e.entry ->> 'number'), ''), e.place::text), 'name', e.entry -> 'name',
                        'section', e.entry -> 'section', 'seats', e.entry -> 'seats',
                        'url', makeready.posm_link((e.entry ->> 'uuid')::uuid, e.entry ->> 'url')),
             'row', case jsonb_typeof(e.entry -> 'row') when 'object' then e.entry -> 'row' else '{}' end)
      from jsonb_array_elements(cards) with ordinality e (entry, place);
end
$$;
comment on function makeready.posm_bare(jsonb) is 'Rows of cards for uuids that belong to no restaurant: [{uuid, number, name, section, seats, url, row}]. MR422. Internal.';

create or replace function makeready.posm_pair_id(template uuid, restaurant uuid, asked_by text)
  returns uuid
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select p.id from makeready.posm_pairs p
   where p.template_id = template and p.restaurant_id is not distinct from restaurant and (restaurant is not null or p.author = asked_by)
$$;
comment on function makeready.posm_pair_id(uuid, uuid, text) is 'The pair; null: nothing was generated for it yet. Internal.';

create or replace function makeready.posm_selection(template uuid, restaurant uuid, chosen uuid[] default null, cards jsonb default null,
    since_version integer default null, asked_by text default null)
  returns table (place integer, table_uuid uuid, label text, row_data jsonb)
  language plpgsql
  stable
  security definer
  set search_path = ''
  set jit = off
as $$
declare
  v_pair uuid;
  v_odd  jsonb;
begin
  if (restaurant is null) <> (cards is not null) or num_nonnulls(chosen, cards, since_version) > 1 then
    perform makeready.posm_refuse('validation_failed', '', 'a generation is for a restaurant, with table_ids or since_version or neither, or for uuids');
  end if;
  if cards is not null then
    return query select * from makeready.posm_bare(cards);
    return;
  end if;
  select jsonb_agg(c.id) into v_odd from unnest(chosen) c (id)
   where not exists (select from makeready.restaurant_tables t where t.id = c.id and t.restaurant_id = restaurant and t.deleted_at is null);
  if v_odd is not null then
    perform makeready.posm_refuse('table_not_found', 'table_ids', format('the restaurant has no table %s', v_odd ->> 0), jsonb_build_object('tables', v_odd));
  end if;
  if since_version is not null then
    v_pair := makeready.posm_pair_id(template, restaurant, asked_by);
    if not exists (select from makeready.posm_generations g where g.pair_id = v_pair and g.version = since_version) then
      perform makeready.posm_refuse('validation_failed', 'since_version', format('there is no version %s', since_version));
    end if;
  end if;
  return query
    select (row_number() over (order by t.position, t.id) - 1)::integer, t.id, t.number,
           jsonb_build_object('table', jsonb_build_object('id', t.id, 'uuid', t.id, 'number', t.number, 'name', t.name, 'section', t.section,
                                                          'seats', t.seat_count, 'url', makeready.posm_link(t.id, t.url)), 'row', '{}'::jsonb)
      from makeready.restaurant_tables t
     where t.restaurant_id = restaurant and t.deleted_at is null
       and (chosen is null or t.id = any (chosen))
       -- New is what no version up to that one was made for with success; those whose files are gone count too.
       and (since_version is null or not exists (
             select from makeready.posm_cards c join makeready.posm_generations g on g.id = c.generation_id
              where c.table_id = t.id and g.pair_id = v_pair and g.version <= since_version and g.status in ('done', 'deleted') and g.failure_code is null));
end
$$;
comment on function makeready.posm_selection(uuid, uuid, uuid[], jsonb, integer, text) is
  'The tables a generation would have, with what its cards would read: all of a restaurant, the chosen ones, only those new since a version, or bare uuids. MR422. Internal.';

create or replace function makeready.posm_offer(template uuid, restaurant uuid)
  returns table (template_row makeready.posm_templates, place_facts jsonb)
  language plpgsql
  stable
  security definer
  set search_path = ''
as $$
declare
  v_template   makeready.posm_templates;
  v_restaurant makeready.restaurants;
begin
  select * into v_template from makeready.posm_templates t where t.id = template and t.deleted_at is null;
  if not found then
    perform makeready.posm_template_refuse(template);
  end if;
  if restaurant is not null then
    select * into v_restaurant from makeready.restaurants r where r.id = restaurant and r.deleted_at is null;
    if not found then
      perform makeready.restaurant_refuse(restaurant);
    end if;
  end if;
  if not makeready.posm_template_is_visible(v_template, v_restaurant) then
    raise exception 'template % is not for restaurant %', template, coalesce(restaurant::text, 'none')
      using errcode = 'MR403', detail = json_build_object('code', 'forbidden', 'reason', 'template_not_visible', 'template_id', template,
                                                          'restaurant_id', restaurant),
            hint = 'Link the restaurant to it, or offer it to all.';
  end if;
  return query select v_template, case when restaurant is null then '{}'::jsonb
                                       else jsonb_build_object('id', v_restaurant.id, 'name', v_restaurant.name, 'city', v_restaurant.city,
                                                               'logo', v_restaurant.logo) end;
end
$$;
comment on function makeready.posm_offer(uuid, uuid) is
  'A template that is offered to a restaurant, and the restaurant as cards read it. MR404, MR403. Internal.';

create or replace function makeready.posm_wish_hash(template uuid, restaurant uuid, chosen uuid[], cards jsonb, since_version integer, own_settings jsonb)
  returns bytea
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select sha256(convert_to(jsonb_build_array(template, restaurant, chosen, cards, since_version, own_settings)::text, 'UTF8'))
$$;
comment on function makeready.posm_wish_hash(uuid, uuid, uuid[], jsonb, integer, jsonb) is 'By what a press is known again. Internal.';

create or replace function makeready.posm_replay(asked_by text, key_given text, hash_given bytea)
  returns table (verdict text, generation uuid, generation_version integer, public_state text)
  language plpgsql
  stable
  security definer
  set search_path = ''
as $$
declare
  v_row makeready.posm_generations;
begin
  select * into v_row from makeready.posm_generations g where g.author = asked_by and g.press_key = key_given;
  if not found then
    return;
  end if;
  if v_row.press_hash <> hash_given then
    raise exception 'the idempotency key % belongs to another request', quote_literal(key_given)
      using errcode = 'MR422', detail = json_build_object('code', 'idempotency_mismatch', 'key', key_given, 'resource', v_row.id),
            hint = 'Use a new key for a new request.';
  end if;
  return query select 'replayed'::text, v_row.id, v_row.version,
                      makeready.posm_state(v_row.status, (select j.state from makeready.jobs j where j.queue = 'posm' and j.id = v_row.id));
end
$$;
comment on function makeready.posm_replay(text, text, bytea) is
  'What a press under this key has made; no row: nothing yet. MR422 idempotency_mismatch when something else was asked for. Internal.';

create or replace function makeready.posm_pair_lock(template uuid, restaurant uuid, asked_by text)
  returns makeready.posm_pairs
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_pair makeready.posm_pairs;
begin
  insert into makeready.posm_pairs (id, template_id, restaurant_id, author)
  values (makeready.uuid7(), template, restaurant, case when restaurant is null then asked_by end)
  on conflict do nothing;
  select * into v_pair from makeready.posm_pairs p where p.id = makeready.posm_pair_id(template, restaurant, asked_by) for no key update;
  return v_pair;
end
$$;
comment on function makeready.posm_pair_lock(uuid, uuid, text) is 'The pair, locked: of two presses the second waits here and then sees what the first has made. Internal.';

create or replace function makeready.posm_refuse_active(pair uuid)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_row makeready.posm_generations;
begin
  select * into v_row from makeready.posm_generations g where g.pair_id = pair and g.status in ('created', 'scheduled');
  if found then
    raise exception 'generation % of this template is being made already, as version %', v_row.id, v_row.version
      using errcode = 'MR409', detail = json_build_object('code', 'already_in_progress', 'generation_id', v_row.id, 'version', v_row.version,
                                                          'restaurant_id', v_row.restaurant_id, 'template_id', v_row.template_id),
            hint = 'Wait for it, or cancel it.';
  end if;
end
$$;
comment on function makeready.posm_refuse_active(uuid) is 'Raises MR409 already_in_progress while a generation of a locked pair is active. Internal.';

create or replace function makeready.posm_freeze(generation uuid)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_row     makeready.posm_generations;
  v_missing jsonb;
  v_file    uuid;
begin
  select * into v_row from makeready.posm_generations g where g.id = generation;
  select jsonb_agg('sha256:' || encode(n.hash, 'hex')) into v_missing from makeready.posm_asset_names(v_row.fields) n (hash)
   where not exists (select from makeready.posm_assets a where a.sha256 = n.hash and a.deleted_at is null);
  if v_missing is not null then
    perform makeready.posm_refuse('asset_unknown', 'settings', format('there is no asset %s', v_missing ->> 0), jsonb_build_object('assets', v_missing));
  end if;
  for v_file in
    select f.id from makeready.posm_template_files t
      join makeready.files f on f.bucket = t.bucket and f.object_key = t.object_key where t.id = v_row.template_file_id
    union
    select a.stored_id from makeready.posm_asset_names(v_row.fields) n (hash)
      join makeready.posm_assets a on a.sha256 = n.hash and a.deleted_at is null
     order by 1
  loop
    -- Shared: one caller's long transaction must not hold up what others make of the same template. Whoever lets the
    -- file go waits for us, and then sees our reference.
    perform 1 from makeready.files f where f.id = v_file and f.unused_at is null and f.purging_at is null for share;
    if found then
      insert into makeready.file_references (file_id, refers_id) values (v_file, generation);
    else
      perform makeready.file_adopt(v_file, generation);
    end if;
  end loop;
end
$$;
comment on function makeready.posm_freeze(uuid) is 'Makes a generation hold on to its template''s PDF and to the assets its settings name. MR422 for an asset there is not. Internal.';

create or replace function makeready.posm_enqueue(template uuid, restaurant uuid default null, chosen uuid[] default null, cards jsonb default null,
    since_version integer default null, own_settings jsonb default null, key_given text default null, asked_by text default null,
    wake boolean default false)
  returns table (verdict text, generation uuid, generation_version integer, public_state text)
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
as $$
declare
  v_by     text := coalesce(asked_by, 'database:' || session_user);
  v_hash   bytea := case when key_given is not null
                         then makeready.posm_wish_hash(template, restaurant, chosen, cards, since_version, own_settings) end;
  v_new    uuid := makeready.uuid7();
  v_offer  record;
  v_pair   makeready.posm_pairs;
  v_most   integer := (select p.max_tables from makeready.posm_policy p);
  v_rows   jsonb;
  v_count  integer;
  v_bad    jsonb;
begin
  perform makeready.refuse_unless_read_committed('posm_enqueue');
  if key_given is not null then
    if length(key_given) not between 1 and 255 then
      perform makeready.posm_refuse('validation_failed', 'key', 'an idempotency key has 1 to 255 characters');
    end if;
    return query select * from makeready.posm_replay(v_by, key_given, v_hash);
    if found then
      return;
    end if;
  end if;
  select * into v_offer from makeready.posm_offer(template, restaurant);
  v_pair := makeready.posm_pair_lock(template, restaurant, v_by);
  select * into v_offer from makeready.posm_offer(template, restaurant);      -- as it is now: the lock may have taken its time
  if key_given is not null then
    -- Again behind the lock: the same press may have been here while this one waited.
    return query select * from makeready.posm_replay(v_by, key_given, v_hash);
    if found then
      return;
    end if;
  end if;
  perform makeready.posm_refuse_active(v_pair.id);
  if not coalesce(jsonb_typeof(own_settings) = 'object' and length(own_settings::text) <= 262144, true) then
    perform makeready.posm_refuse('validation_failed', 'settings', 'settings is an object of at most 256 KB');
  end if;
  select count(*), jsonb_agg(s.label order by s.place) filter (where s.row_data #>> '{table,url}' is null), jsonb_agg(to_jsonb(s))
    into v_count, v_bad, v_rows
    from makeready.posm_selection(template, restaurant, chosen, cards, since_version, v_by) s;
  if v_count not between 1 and v_most then
    perform makeready.posm_refuse(case v_count when 0 then 'no_tables' else 'too_many_tables' end, 'tables',
              case when v_count > 0 then format('%s tables are too many: %s at most', v_count, v_most)
                   when since_version is not null then format('no table is new since version %s', since_version)
                   else 'there are no tables' end);
  elsif v_bad is not null then
    perform makeready.posm_refuse('value_empty', 'link_template', format('table %s has no link: set the policy''s link_template, or give it one', v_bad ->> 0),
                                  jsonb_build_object('tables', v_bad));
  end if;
  insert into makeready.posm_generations (id, pair_id, restaurant_id, template_id, template_file_id, version, status, scope, author, fields,
                                          place_facts, press_key, press_hash, tables_total, created_at)
  values (v_new, v_pair.id, restaurant, template, (v_offer.template_row).file_id, v_pair.last_version + 1, 'created',
          case when cards is not null then 'uuids' when chosen is not null then 'chosen' when since_version is not null then 'new' else 'all' end,
          v_by, coalesce(own_settings, (v_offer.template_row).fields), v_offer.place_facts, key_given, v_hash, v_count, makeready.now())
  on conflict (author, press_key) where press_key is not null do nothing;
  if not found then                    -- the same key for another pair, a moment ago
    return query select * from makeready.posm_replay(v_by, key_given, v_hash);
    return;
  end if;
  update makeready.posm_pairs p set last_version = p.last_version + 1 where p.id = v_pair.id;
  insert into makeready.posm_cards (id, generation_id, place, table_id, label, row_data)
  select makeready.uuid7(), v_new, s.place, s.table_uuid, s.label, s.row_data
    from jsonb_to_recordset(v_rows) s (place integer, table_uuid uuid, label text, row_data jsonb) order by s.place;
  perform makeready.audit('posm_enqueue', v_new::text, null, jsonb_build_object('template_id', template, 'restaurant_id', restaurant,
            'version', v_pair.last_version + 1, 'tables', v_count), null);
  perform makeready.posm_freeze(v_new);
  perform makeready.enqueue('posm', jsonb_build_object('generation_id', v_new), v_new, due => 'infinity',
                            owner_key => coalesce(restaurant::text, ''), batch_key => restaurant);
  if wake then
    perform makeready.posm_admit_next();
  end if;
  return query select 'created'::text, v_new, v_pair.last_version + 1, 'created'::text;
end
$$;
comment on function makeready.posm_enqueue(uuid, uuid, uuid[], jsonb, integer, jsonb, text, text, boolean) is
  'Asks for the cards of a restaurant''s tables (all, the chosen ones, or those new since a version) or of bare uuids, in the caller''s own transaction; all that they are made of is frozen. The same key of the same author again returns the same generation (verdict replayed). wake admits it at once, behind the gate that then stays locked to the end of the transaction; else call makeready.posm_admit() after the commit, or a chore does within a minute. MR404, MR403 not visible, MR422, MR409 one is active.';

create or replace function makeready.posm_seen(template uuid, restaurant uuid default null, chosen uuid[] default null, cards jsonb default null,
    since_version integer default null, own_settings jsonb default null, key_given text default null, asked_by text default null)
  returns table (verdict text, generation uuid, generation_version integer, public_state text)
  language plpgsql
  stable
  security definer
  set search_path = ''
as $$
declare
  v_by text := coalesce(asked_by, 'database:' || session_user);
begin
  return query select * from makeready.posm_replay(v_by, key_given, makeready.posm_wish_hash(template, restaurant, chosen, cards, since_version, own_settings));
  if not found then
    perform makeready.posm_offer(template, restaurant);
    perform makeready.posm_refuse_active(makeready.posm_pair_id(template, restaurant, v_by));
  end if;
end
$$;
comment on function makeready.posm_seen(uuid, uuid, uuid[], jsonb, integer, jsonb, text, text) is
  'What posm_enqueue would answer before it looks at tables: the generation that this key has made, or its refusals; no row: it may be asked for. For callers who check settings first, which takes its time. MR404, MR403, MR422 idempotency_mismatch, MR409.';

grant execute on function makeready.posm_enqueue(uuid, uuid, uuid[], jsonb, integer, jsonb, text, text, boolean)
  to makeready_app, makeready_http, makeready_ops;
grant execute on function makeready.posm_seen(uuid, uuid, uuid[], jsonb, integer, jsonb, text, text) to makeready_http, makeready_ops;
