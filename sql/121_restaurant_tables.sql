-- Tables of a restaurant: the whole list is given, and the answer says what that changed.
--
-- A row that names its uuid is that table, whatever else is new about it. A row that names none is the table with the same
-- number in the same section, or the one table that has this number, so that a list out of a spreadsheet keeps every link
-- that is printed already; what is left over is new. Tables that the list does not name are gone, until it names them again.

create or replace function makeready.restaurant_table_facts(of_row makeready.restaurant_tables)
  returns jsonb
  language sql
  immutable
  security definer
  set search_path = ''
as $$
  select jsonb_build_object('uuid', of_row.id, 'number', of_row.number, 'name', of_row.name, 'section', of_row.section,
                            'seats', of_row.seat_count, 'url', of_row.url) where of_row.id is not null
$$;
comment on function makeready.restaurant_table_facts(makeready.restaurant_tables) is 'A table as lists and diffs show it. Internal.';

create or replace function makeready.restaurant_tables_problems(restaurant uuid, given jsonb)
  returns jsonb
  language sql
  stable
  security definer
  set search_path = ''
  set enable_nestloop = off      -- thousands of rows join thousands, whatever is estimated of a list
as $$
  with g as (
    select e.place - 1 as place, e.entry, case when jsonb_typeof(e.entry) = 'object' then e.entry else '{}' end as facts,
           lower(e.entry ->> 'uuid') as uuid_text, btrim(e.entry ->> 'number') as number, coalesce(btrim(e.entry ->> 'section'), '') as section,
           row_number() over (partition by lower(e.entry ->> 'uuid') order by e.place) as nth_uuid,
           row_number() over (partition by btrim(e.entry ->> 'number'), coalesce(btrim(e.entry ->> 'section'), '') order by e.place) as nth_number
      from jsonb_array_elements(given) with ordinality e (entry, place)
  ), found (place, field, code, message) as (
    select g.place, '', 'validation_failed', 'a table is an object' from g where jsonb_typeof(g.entry) <> 'object'
    union all
    select g.place, k.key, 'validation_failed', format('a table has no %s', k.key)
      from g cross join lateral jsonb_object_keys(g.facts) k (key)
     where k.key not in ('uuid', 'number', 'name', 'section', 'seats', 'url')
    union all
    select g.place, b.field, 'validation_failed',
           format('%s is one line of 1 to %s characters%s', b.field, b.most, case b.field when 'number' then '' else ', or null' end)
      from g cross join (values ('number', 40), ('name', 200), ('section', 100)) b (field, most)
     where jsonb_typeof(g.entry) = 'object'
       and not (case coalesce(jsonb_typeof(g.facts -> b.field), 'null') when 'null' then b.field <> 'number'
                  when 'string' then length(btrim(g.facts ->> b.field)) between 1 and b.most and g.facts ->> b.field !~ '[[:cntrl:]]' else false end)
    union all
    select g.place, 'seats', 'validation_failed', 'seats is a whole number from 0 to 1000, or null' from g
     where case coalesce(jsonb_typeof(g.facts -> 'seats'), 'null') when 'null' then false
             when 'number' then (g.facts ->> 'seats')::numeric not between 0 and 1000 or (g.facts ->> 'seats')::numeric % 1 <> 0 else true end
    union all
    select g.place, 'url', 'value_not_url', 'url is a link that begins with http:// or https:// and has no spaces, or null' from g
     where case coalesce(jsonb_typeof(g.facts -> 'url'), 'null') when 'null' then false
             when 'string' then length(g.facts ->> 'url') > 2000 or g.facts ->> 'url' !~ '^https?://[^\s/]+\S*$' else true end
    union all
    select g.place, 'uuid', 'validation_failed', 'uuid is a UUID, or null' from g
     where coalesce(jsonb_typeof(g.facts -> 'uuid'), 'null') <> 'null' and coalesce(g.uuid_text !~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$', true)
    union all
    select g.place, 'uuid', 'duplicate', format('uuid %s is there twice', g.uuid_text) from g
     where g.uuid_text is not null and g.nth_uuid > 1
    union all
    select g.place, 'number', 'duplicate',
           format('number %s%s is there twice', g.number, case g.section when '' then '' else ' in ' || g.section end) from g
     where g.number is not null and g.nth_number > 1
    union all
    select g.place, 'uuid', 'uuid_of_another', format('uuid %s belongs to another restaurant', g.uuid_text) from g
      join makeready.restaurant_tables t on t.id::text = g.uuid_text and t.restaurant_id <> restaurant
  )
  select coalesce(jsonb_agg(jsonb_build_object('code', f.code, 'message', format('tables[%s]: %s', f.place, f.message),
                                               'path', format('tables[%s]%s', f.place, case f.field when '' then '' else '.' || f.field end))
                            order by f.place, f.field), '[]')
    from found f
$$;
comment on function makeready.restaurant_tables_problems(uuid, jsonb) is 'Everything that is wrong with a list of tables. Internal.';

create or replace function makeready.restaurant_tables_match(restaurant uuid, given jsonb)
  returns table (place integer, entry jsonb, known_table uuid)
  language sql
  stable
  security definer
  set search_path = ''
  set enable_nestloop = off
as $$
  with g as (
    select e.place::integer as place, e.entry, (e.entry ->> 'uuid')::uuid as given_id, btrim(e.entry ->> 'number') as number,
           coalesce(btrim(e.entry ->> 'section'), '') as section
      from jsonb_array_elements(given) with ordinality e (entry, place)
  ), free as (      -- tables that no row names by uuid
    select t.id, t.number, coalesce(t.section, '') as section from makeready.restaurant_tables t
     where t.restaurant_id = restaurant and t.deleted_at is null and not exists (select from g where g.given_id = t.id)
  ), same as (
    select g.place, min(f.id::text)::uuid as id from g join free f on f.number = g.number and f.section = g.section
     where g.given_id is null group by g.place
  ), moved as (      -- to another section: only where number alone says which one, on both sides
    select min(g.place) as place, min(f.id::text)::uuid as id
      from g join free f on f.number = g.number
     where g.given_id is null and not exists (select from same s where s.place = g.place) and not exists (select from same s where s.id = f.id)
     group by g.number having count(*) = 1
  )
  select g.place, g.entry, coalesce(g.given_id, s.id, m.id)
    from g left join same s on s.place = g.place left join moved m on m.place = g.place
$$;
comment on function makeready.restaurant_tables_match(uuid, jsonb) is 'Which table each row of a list is; null: a new one. Internal.';

create or replace function makeready.restaurant_tables_put(restaurant uuid, given jsonb, known integer default null,
    dry_run boolean default false, because text default null)
  returns jsonb
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
  set enable_nestloop = off
as $$
declare
  v_row    makeready.restaurants := makeready.restaurant_lock(restaurant);
  v_now    timestamptz := makeready.now();
  v_before jsonb;
  v_after  jsonb;
  v_diff   jsonb;
begin
  perform makeready.refuse_stale('the list of tables of restaurant ' || restaurant, known, v_row.tables_version);
  if jsonb_typeof(given) is distinct from 'array' or jsonb_array_length(given) > 5000 then
    perform makeready.refuse_problems('[{"code": "validation_failed", "path": "tables", "message": "tables is a list of at most 5000 tables"}]');
  end if;
  perform makeready.refuse_problems(makeready.restaurant_tables_problems(restaurant, given));
  select coalesce(jsonb_object_agg(t.id, makeready.restaurant_table_facts(t)), '{}') into v_before
    from makeready.restaurant_tables t where t.restaurant_id = restaurant and t.deleted_at is null;
  select coalesce(jsonb_agg(jsonb_build_object(
           'uuid', coalesce(m.known_table, gen_random_uuid()), 'number', btrim(m.entry ->> 'number'), 'name', btrim(m.entry ->> 'name'),
           'section', btrim(m.entry ->> 'section'), 'seats', (m.entry ->> 'seats')::numeric::integer, 'url', m.entry ->> 'url') order by m.place), '[]')
    into v_after from makeready.restaurant_tables_match(restaurant, given) m;
  with b as (select e.key, e.value as entry from jsonb_each(v_before) e),
       a as (select e.entry ->> 'uuid' as key, e.entry, e.place from jsonb_array_elements(v_after) with ordinality e (entry, place))
  select jsonb_build_object(
           'added',   coalesce(jsonb_agg(a.entry order by a.place) filter (where b.key is null), '[]'),
           'changed', coalesce(jsonb_agg(jsonb_build_object('uuid', a.key, 'before', b.entry, 'after', a.entry) order by a.place)
                                 filter (where b.entry <> a.entry), '[]'),
           'kept',    count(*) filter (where b.entry = a.entry),
           'removed', coalesce(jsonb_agg(b.entry order by b.entry ->> 'number', b.key) filter (where a.key is null), '[]'))
    into v_diff
    from a full join b on b.key = a.key;
  if dry_run then
    return v_diff || jsonb_build_object('version', v_row.tables_version);
  end if;
  insert into makeready.restaurant_tables as t (id, restaurant_id, number, name, section, seat_count, url, position, created_at, live_since)
  select (a.entry ->> 'uuid')::uuid, restaurant, a.entry ->> 'number', a.entry ->> 'name', a.entry ->> 'section', (a.entry ->> 'seats')::integer,
         a.entry ->> 'url', a.place, v_now, v_now
    from jsonb_array_elements(v_after) with ordinality a (entry, place)
  on conflict on constraint restaurant_tables_pk do update
     set number = excluded.number, name = excluded.name, section = excluded.section, seat_count = excluded.seat_count, url = excluded.url,
         position = excluded.position, live_since = case when t.deleted_at is null then t.live_since else v_now end, deleted_at = null
   where t.restaurant_id = excluded.restaurant_id;
  perform makeready.restaurant_tables_refuse_taken(restaurant, v_after);
  update makeready.restaurant_tables t set deleted_at = v_now
   where t.restaurant_id = restaurant and t.deleted_at is null
     and t.id <> all (array(select (a.value ->> 'uuid')::uuid from jsonb_array_elements(v_after) a));
  update makeready.restaurants r set tables_version = r.tables_version + 1, updated_at = v_now where r.id = restaurant
  returning r.tables_version into v_row.tables_version;
  perform makeready.audit('restaurant_tables_put', restaurant::text, null,
            jsonb_build_object('added', jsonb_array_length(v_diff -> 'added'), 'removed', jsonb_array_length(v_diff -> 'removed'),
                               'changed', jsonb_array_length(v_diff -> 'changed'), 'kept', v_diff -> 'kept'), because);
  return v_diff || jsonb_build_object('version', v_row.tables_version);
end
$$;
comment on function makeready.restaurant_tables_put(uuid, jsonb, integer, boolean, text) is
  'Gives a restaurant its tables, all of them and in order: [{uuid, number, name, section, seats, url}], of which only the number is needed. Returns {added, removed, changed: [{uuid, before, after}], kept, version}; dry_run changes nothing. known: the version of the list that was read. MR404, MR409 stale_version, MR422 with everything that is wrong. Audited.';

create or replace function makeready.restaurant_tables_refuse_taken(restaurant uuid, listed jsonb)
  returns void
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  -- Another restaurant was given this uuid at the same moment, and was first.
  select makeready.refuse_problems(coalesce(jsonb_agg(jsonb_build_object('code', 'uuid_of_another', 'path', format('tables[%s].uuid', a.place - 1),
           'message', format('tables[%s]: uuid %s belongs to another restaurant', a.place - 1, a.entry ->> 'uuid'))), '[]'))
    from jsonb_array_elements(listed) with ordinality a (entry, place)
    join makeready.restaurant_tables t on t.id = (a.entry ->> 'uuid')::uuid and t.restaurant_id <> restaurant
$$;
comment on function makeready.restaurant_tables_refuse_taken(uuid, jsonb) is 'Raises MR422 for tables that turned out to be another restaurant''s. Internal.';

create or replace function makeready.restaurant_tables_read(restaurant uuid)
  returns table (table_uuid uuid, label text, title text, section_name text, seats_there integer, own_url text, made_at timestamptz)
  language plpgsql
  stable
  security definer
  set search_path = ''
as $$
begin
  if not exists (select from makeready.restaurants r where r.id = restaurant and r.deleted_at is null) then
    perform makeready.restaurant_refuse(restaurant);
  end if;
  return query
    select t.id, t.number, t.name, t.section, t.seat_count, t.url, t.created_at from makeready.restaurant_tables t
     where t.restaurant_id = restaurant and t.deleted_at is null order by t.position, t.id;
end
$$;
comment on function makeready.restaurant_tables_read(uuid) is 'The tables of a restaurant in their order; MR404.';

grant execute on function
  makeready.restaurant_tables_put(uuid, jsonb, integer, boolean, text), makeready.restaurant_tables_read(uuid)
to makeready_http, makeready_ops;
