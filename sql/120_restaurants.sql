-- Restaurants and their tables: what cards are made for.
--
-- A table's uuid is in the link that is printed on its card, so it never changes and never moves: it belongs to one
-- restaurant for ever, also after the table is gone, and comes back with it. Everything else about a table may change.
-- Nothing is ever deleted here, only marked: cards that hang on walls lead to rows that are still there.
--
-- Whoever changes a restaurant states the version that was read; an older one is refused, so nobody overwrites what
-- was not seen. The list of tables has a version of its own.

create table if not exists makeready.restaurants (
  id             uuid        not null constraint restaurants_pk primary key,
  name           text        not null constraint restaurants_name_is_short check (length(name) between 1 and 200),
  brand          text        constraint restaurants_brand_is_short check (length(brand) between 1 and 100),
  city           text        constraint restaurants_city_is_short check (length(city) between 1 and 100),
  logo           text        constraint restaurants_logo_is_short check (length(logo) between 1 and 300),
  version        integer     not null default 1,
  tables_version integer     not null default 1,
  created_at     timestamptz not null,
  updated_at     timestamptz not null,
  deleted_at     timestamptz
);
create index if not exists restaurants_newest on makeready.restaurants (created_at, id) where deleted_at is null;
create index if not exists restaurants_of_brand on makeready.restaurants (brand, created_at, id) where deleted_at is null and brand is not null;
comment on table makeready.restaurants is 'Restaurants. Deleted ones stay, for the history of what was printed for them.';
comment on column makeready.restaurants.id is 'UUID version 7.';
comment on column makeready.restaurants.name is 'What people call it, and {restaurant.name} on cards.';
comment on column makeready.restaurants.brand is 'What it trades as; templates of that brand are offered to it. Null: none.';
comment on column makeready.restaurants.city is '{restaurant.city} on cards.';
comment on column makeready.restaurants.logo is '{restaurant.logo} on cards: sha256:… of an uploaded picture, or any word that a condition asks for.';
comment on column makeready.restaurants.version is 'Goes up with each change; a writer states the one that was read.';
comment on column makeready.restaurants.tables_version is 'The same for the list of its tables.';
comment on column makeready.restaurants.created_at is 'When it was entered.';
comment on column makeready.restaurants.updated_at is 'When it was last changed, its tables included.';
comment on column makeready.restaurants.deleted_at is 'Since when it looks as if absent; null: it is there.';

create table if not exists makeready.restaurant_tables (
  id            uuid        not null constraint restaurant_tables_pk primary key,
  restaurant_id uuid        not null constraint restaurant_tables_fk_restaurants references makeready.restaurants,
  number        text        not null constraint restaurant_tables_number_is_short check (length(number) between 1 and 40),
  name          text        constraint restaurant_tables_name_is_short check (length(name) between 1 and 200),
  section       text        constraint restaurant_tables_section_is_short check (length(section) between 1 and 100),
  seat_count    integer     constraint restaurant_tables_seats_are_few check (seat_count between 0 and 1000),
  url           text        constraint restaurant_tables_url_is_a_link check (length(url) <= 2000 and url ~ '^https?://[^\s/]+\S*$'),
  position      integer     not null,
  created_at    timestamptz not null,
  live_since    timestamptz not null,
  deleted_at    timestamptz
);
create index if not exists restaurant_tables_in_order on makeready.restaurant_tables (restaurant_id, position, id);
comment on table makeready.restaurant_tables is 'Tables of restaurants, those that are gone included.';
comment on column makeready.restaurant_tables.id is 'The uuid in the link on its card: random, the same for ever.';
comment on column makeready.restaurant_tables.restaurant_id is 'Its restaurant, for ever.';
comment on column makeready.restaurant_tables.number is 'What guests and waiters call it: a label like 12a.';
comment on column makeready.restaurant_tables.name is 'A name of its own, if it has one.';
comment on column makeready.restaurant_tables.section is 'Hall, terrace.';
comment on column makeready.restaurant_tables.seat_count is 'How many sit there.';
comment on column makeready.restaurant_tables.url is 'A link of its own; null: made of posm_policy.link_template.';
comment on column makeready.restaurant_tables.position is 'Its place in the list, and so the order of cards.';
comment on column makeready.restaurant_tables.created_at is 'When it was first entered.';
comment on column makeready.restaurant_tables.live_since is 'When it was entered or last came back.';
comment on column makeready.restaurant_tables.deleted_at is 'Since when it is gone; null: it is there.';

create or replace function makeready.refuse_stale(object text, known integer, current integer)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  if known <> current then
    raise exception '% has changed: it has version % now, not %', object, current, known
      using errcode = 'MR409', detail = json_build_object('code', 'stale_version', 'version', current, 'stated', known),
            hint = 'Read it again, and decide again.';
  end if;
end
$$;
comment on function makeready.refuse_stale(text, integer, integer) is 'Raises MR409 stale_version unless the version that was read is the current one; null skips the question. Internal.';

create or replace function makeready.refuse_problems(wrong jsonb)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  if jsonb_array_length(wrong) > 0 then
    raise exception '%', (wrong -> 0 ->> 'message') || case jsonb_array_length(wrong) when 1 then '' else ' (and more)' end
      using errcode = 'MR422', hint = 'Nothing was changed.',
            detail = json_build_object('code', 'validation_failed', 'problems',
                       (select jsonb_agg(p.problem) from (select e.problem from jsonb_array_elements(wrong) e (problem) limit 100) p));
  end if;
end
$$;
comment on function makeready.refuse_problems(jsonb) is 'Raises MR422 with [{code, path, message}], at most 100 of them; an empty list passes. Internal.';

create or replace function makeready.restaurant_refuse(restaurant uuid)
  returns void language plpgsql volatile security definer set search_path = ''
as $$
begin
  raise exception 'there is no restaurant %', coalesce(restaurant::text, 'null')
    using errcode = 'MR404', detail = json_build_object('code', 'restaurant_not_found', 'restaurant_id', restaurant),
          hint = 'A deleted one looks the same as one that never was.';
end
$$;
comment on function makeready.restaurant_refuse(uuid) is 'Raises MR404 for a restaurant that is unknown or deleted. Internal.';

create or replace function makeready.restaurant_lock(restaurant uuid)
  returns makeready.restaurants
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_row makeready.restaurants;
begin
  select * into v_row from makeready.restaurants r where r.id = restaurant and r.deleted_at is null for no key update;
  if not found then
    perform makeready.restaurant_refuse(restaurant);
  end if;
  return v_row;
end
$$;
comment on function makeready.restaurant_lock(uuid) is 'The restaurant, locked for a change; MR404. Internal.';

create or replace function makeready.restaurant_facts(of_row makeready.restaurants)
  returns jsonb language sql immutable security definer set search_path = ''
as $$ select jsonb_build_object('name', of_row.name, 'brand', of_row.brand, 'city', of_row.city, 'logo', of_row.logo) $$;
comment on function makeready.restaurant_facts(makeready.restaurants) is 'What may be changed of a restaurant, as the audit log keeps it. Internal.';

create or replace function makeready.restaurant_check(changes jsonb)
  returns void
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select makeready.refuse_problems(coalesce(jsonb_agg(jsonb_build_object('code', 'validation_failed', 'path', c.key, 'message',
           case when b.most is null then format('a restaurant has no %s', c.key)
                else format('%s is one line of 1 to %s characters%s', c.key, b.most, case c.key when 'name' then '' else ', or null' end) end)
           order by c.key), '[]'))
    from jsonb_each(changes) c
    left join (values ('name', 200), ('brand', 100), ('city', 100), ('logo', 300)) b (key, most) on b.key = c.key
   where b.most is null
      or not (case jsonb_typeof(c.value) when 'null' then c.key <> 'name'
                when 'string' then length(btrim(c.value #>> '{}')) between 1 and b.most and c.value #>> '{}' !~ '[[:cntrl:]]' else false end)
$$;
comment on function makeready.restaurant_check(jsonb) is 'Raises MR422 for what a restaurant cannot have. Internal.';

create or replace function makeready.restaurant_create(what jsonb, asked_by text default null, request_key text default null)
  returns table (verdict text, restaurant uuid)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_new     uuid := makeready.uuid7();
  v_verdict text := 'created';
  v_now     timestamptz;
  v_row     makeready.restaurants;
begin
  if request_key is not null then
    select t.verdict, t.target_id into v_verdict, v_new
      from makeready.request_take('staff:' || coalesce(asked_by, session_user), 'restaurant_create', request_key,
             sha256(convert_to(what::text, 'UTF8')), 'posm', v_new) t;
  end if;
  if v_verdict = 'created' then
    what := coalesce(what, '{}') || case when what ? 'name' then '{}' else '{"name": null}'::jsonb end;
    perform makeready.restaurant_check(what);
    v_now := makeready.now();
    insert into makeready.restaurants (id, name, brand, city, logo, created_at, updated_at)
    values (v_new, btrim(what ->> 'name'), btrim(what ->> 'brand'), btrim(what ->> 'city'), btrim(what ->> 'logo'), v_now, v_now)
    returning * into v_row;
    perform makeready.audit('restaurant_create', v_new::text, null, makeready.restaurant_facts(v_row), null);
  end if;
  return query select v_verdict, v_new;
end
$$;
comment on function makeready.restaurant_create(jsonb, text, text) is
  'Enters a restaurant of {name, brand, city, logo}, of which only the name is needed; audited. The same request key of the same person again returns the same one (verdict replayed). MR422.';

create or replace function makeready.restaurant_set(restaurant uuid, changes jsonb, known integer default null, because text default null)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_old makeready.restaurants := makeready.restaurant_lock(restaurant);
  v_new makeready.restaurants;
begin
  perform makeready.refuse_stale('restaurant ' || restaurant, known, v_old.version);
  perform makeready.restaurant_check(changes);
  update makeready.restaurants r
     set name  = case when changes ? 'name'  then btrim(changes ->> 'name')  else r.name  end,
         brand = case when changes ? 'brand' then btrim(changes ->> 'brand') else r.brand end,
         city  = case when changes ? 'city'  then btrim(changes ->> 'city')  else r.city  end,
         logo  = case when changes ? 'logo'  then btrim(changes ->> 'logo')  else r.logo  end,
         version = r.version + 1, updated_at = makeready.now()
   where r.id = restaurant
  returning * into v_new;
  perform makeready.audit('restaurant_set', restaurant::text, makeready.restaurant_facts(v_old), makeready.restaurant_facts(v_new), because);
  return v_new.version;
end
$$;
comment on function makeready.restaurant_set(uuid, jsonb, integer, text) is
  'Changes what is named of {name, brand, city, logo} and returns the new version; known: the version that was read. Cards that were asked for keep what they were asked for with. MR404, MR409 stale_version, MR422. Audited.';

create or replace function makeready.restaurant_delete(restaurant uuid, known integer default null, because text default null)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_old makeready.restaurants := makeready.restaurant_lock(restaurant);
begin
  perform makeready.refuse_stale('restaurant ' || restaurant, known, v_old.version);
  update makeready.restaurants r set deleted_at = makeready.now(), version = r.version + 1 where r.id = restaurant;
  update makeready.posm_template_restaurants l set deleted_at = makeready.now() where l.restaurant_id = restaurant and l.deleted_at is null;
  perform makeready.audit('restaurant_delete', restaurant::text, makeready.restaurant_facts(v_old), null, because);
end
$$;
comment on function makeready.restaurant_delete(uuid, integer, text) is
  'Takes a restaurant out of all lists: nothing new is made for it, what was made stays. MR404, MR409 stale_version. Audited.';

create or replace function makeready.restaurant_list(search_text text default null, of_brand text default null, max_rows integer default 50,
    older_than uuid default null, only_this uuid default null)
  returns table (restaurant uuid, title text, brand_name text, city_name text, logo_name text, row_version integer, list_version integer,
                 live_tables integer, made_at timestamptz, changed_at timestamptz)
  language plpgsql
  stable
  security definer
  set search_path = ''
  set jit = off
  set plan_cache_mode = force_custom_plan      -- planned for the filters that are given
as $$
begin
  return query
  select r.id, r.name, r.brand, r.city, r.logo, r.version, r.tables_version,
         (select count(*)::integer from makeready.restaurant_tables t where t.restaurant_id = r.id and t.deleted_at is null),
         r.created_at, r.updated_at
    from makeready.restaurants r
   where r.deleted_at is null
     and (only_this is null or r.id = only_this)
     and (of_brand is null or r.brand = of_brand)
     and (search_text is null or position(lower(search_text) in lower(concat_ws(' ', r.name, r.brand, r.city))) > 0)
     and (restaurant_list.older_than is null or (r.created_at, r.id) < (
           select o.created_at, o.id from makeready.restaurants o where o.id = restaurant_list.older_than))
   order by r.created_at desc, r.id desc
   limit max_rows;
end
$$;
comment on function makeready.restaurant_list(text, text, integer, uuid, uuid) is
  'Restaurants, newest first; search_text looks into name, brand and city; older_than is the last one of the page before; only_this: that one.';

grant execute on function
  makeready.restaurant_create(jsonb, text, text), makeready.restaurant_set(uuid, jsonb, integer, text),
  makeready.restaurant_delete(uuid, integer, text), makeready.restaurant_list(text, text, integer, uuid, uuid)
to makeready_http, makeready_ops;
