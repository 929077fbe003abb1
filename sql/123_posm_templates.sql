-- POSM, templates: a designer's PDF, what is to be put on it, and who may use it.
--
-- A template is offered to all, to the restaurants it is linked to, or to those of its brand. Its PDF is stored once and
-- read once: what was found in it is kept beside it. Another PDF is another row of `posm_template_files`; generations pin
-- the one they were asked for with. A deleted template is no longer offered, and what was made of it stays.

create table if not exists makeready.posm_templates (
  id          uuid        not null constraint posm_templates_pk primary key,
  name        text        not null constraint posm_templates_name_is_short check (length(name) between 1 and 200),
  description text        not null default '' constraint posm_templates_description_is_short check (length(description) <= 2000),
  fields      jsonb       not null default '{}' constraint posm_templates_fields_are_an_object check (jsonb_typeof(fields) = 'object'),
  visibility  text        not null constraint posm_templates_visibility_is_known check (visibility in ('global', 'restaurant', 'brand')),
  brand       text        constraint posm_templates_brand_is_short check (length(brand) between 1 and 100),
  file_id     uuid        not null,
  version     integer     not null default 1,
  author      text        not null,
  created_at  timestamptz not null,
  updated_at  timestamptz not null,
  deleted_at  timestamptz,
  constraint posm_templates_brand_iff_for_one check ((brand is not null) = (visibility = 'brand'))
);
create index if not exists posm_templates_newest on makeready.posm_templates (created_at, id) where deleted_at is null;
comment on table makeready.posm_templates is 'Templates of cards. Deleted ones stay, for the generations made of them.';
comment on column makeready.posm_templates.id is 'UUID version 7.';
comment on column makeready.posm_templates.name is 'What people call it.';
comment on column makeready.posm_templates.description is 'What it is for.';
comment on column makeready.posm_templates.fields is 'The settings that are recommended: fields and how cards are made; a generation may bring its own.';
comment on column makeready.posm_templates.visibility is 'global: offered to all. restaurant: to those it is linked to. brand: to restaurants of its brand.';
comment on column makeready.posm_templates.brand is 'The brand, if it is for one.';
comment on column makeready.posm_templates.file_id is 'Its PDF now.';
comment on column makeready.posm_templates.version is 'Goes up with each change; a writer states the one that was read.';
comment on column makeready.posm_templates.author is 'Who uploaded it.';
comment on column makeready.posm_templates.created_at is 'When it was uploaded.';
comment on column makeready.posm_templates.updated_at is 'When it was last changed.';
comment on column makeready.posm_templates.deleted_at is 'Since when it is no longer offered; null: it is.';

create table if not exists makeready.posm_template_files (
  id          uuid        not null constraint posm_template_files_pk primary key,
  template_id uuid        not null constraint posm_template_files_fk_posm_templates references makeready.posm_templates on delete cascade,
  bucket      text        not null,
  object_key  text        not null,
  sha256      bytea       not null,
  size_bytes  bigint      not null,
  inspection  jsonb       not null,
  created_at  timestamptz not null
);
create index if not exists posm_template_files_of_template on makeready.posm_template_files (template_id);
comment on table makeready.posm_template_files is 'PDFs of templates: the present one and those that were replaced. The stored object stays as long as the template or a generation needs it.';
comment on column makeready.posm_template_files.id is 'Also the reference under which files keeps the object for the template.';
comment on column makeready.posm_template_files.template_id is 'The template.';
comment on column makeready.posm_template_files.bucket is 'Where it lies.';
comment on column makeready.posm_template_files.object_key is 'Key in the bucket.';
comment on column makeready.posm_template_files.sha256 is 'SHA-256 of the bytes.';
comment on column makeready.posm_template_files.size_bytes is 'Size.';
comment on column makeready.posm_template_files.inspection is 'What was found in it when it came: pages, boxes, fonts, form fields, warnings.';
comment on column makeready.posm_template_files.created_at is 'When it came.';

create table if not exists makeready.posm_template_restaurants (
  id            bigint      not null generated always as identity constraint posm_template_restaurants_pk primary key,
  template_id   uuid        not null constraint posm_template_restaurants_fk_posm_templates references makeready.posm_templates on delete cascade,
  restaurant_id uuid        not null constraint posm_template_restaurants_fk_restaurants references makeready.restaurants,
  created_at    timestamptz not null,
  deleted_at    timestamptz
);
create unique index if not exists posm_template_restaurants_one_live on makeready.posm_template_restaurants (template_id, restaurant_id)
  where deleted_at is null;
create index if not exists posm_template_restaurants_of_template on makeready.posm_template_restaurants (template_id);
create index if not exists posm_template_restaurants_of_restaurant on makeready.posm_template_restaurants (restaurant_id);
comment on table makeready.posm_template_restaurants is 'Restaurants that a template is for; one live link of the two at most.';
comment on column makeready.posm_template_restaurants.id is 'Order of entry.';
comment on column makeready.posm_template_restaurants.template_id is 'The template.';
comment on column makeready.posm_template_restaurants.restaurant_id is 'The restaurant.';
comment on column makeready.posm_template_restaurants.created_at is 'When it was linked.';
comment on column makeready.posm_template_restaurants.deleted_at is 'When it was unlinked; null: it is linked.';

create or replace function makeready.posm_template_refuse(template uuid)
  returns void language plpgsql volatile security definer set search_path = ''
as $$
begin
  raise exception 'there is no template %', coalesce(template::text, 'null')
    using errcode = 'MR404', detail = json_build_object('code', 'template_not_found', 'template_id', template),
          hint = 'A deleted one looks the same as one that never was.';
end
$$;
comment on function makeready.posm_template_refuse(uuid) is 'Raises MR404 for a template that is unknown or deleted. Internal.';

create or replace function makeready.posm_template_lock(template uuid)
  returns makeready.posm_templates
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_row makeready.posm_templates;
begin
  select * into v_row from makeready.posm_templates t where t.id = template and t.deleted_at is null for no key update;
  if not found then
    perform makeready.posm_template_refuse(template);
  end if;
  return v_row;
end
$$;
comment on function makeready.posm_template_lock(uuid) is 'The template, locked for a change; MR404. Internal.';

create or replace function makeready.posm_template_facts(of_row makeready.posm_templates)
  returns jsonb
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select jsonb_build_object('name', of_row.name, 'description', of_row.description, 'settings', of_row.fields, 'visibility', of_row.visibility,
           'brand', of_row.brand, 'restaurants', (select coalesce(jsonb_agg(l.restaurant_id order by l.id), '[]')
                                                    from makeready.posm_template_restaurants l where l.template_id = of_row.id and l.deleted_at is null))
$$;
comment on function makeready.posm_template_facts(makeready.posm_templates) is 'What may be changed of a template, as it is now. Internal.';

create or replace function makeready.posm_template_check(facts jsonb, of_keys text[])
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_found jsonb;
begin
  select coalesce(jsonb_agg(jsonb_build_object('code', 'validation_failed', 'path', p.path, 'message', p.message) order by p.path), '[]') into v_found
    from (select k.key, format('a template has no %s', k.key) from unnest(of_keys) k (key)
           where k.key not in ('name', 'description', 'settings', 'visibility', 'brand', 'restaurants')
          union all
          select 'name', 'name is one line of 1 to 200 characters'
           where not coalesce(jsonb_typeof(facts -> 'name') = 'string' and length(btrim(facts ->> 'name')) between 1 and 200
                              and facts ->> 'name' !~ '[[:cntrl:]]', false)
          union all
          select 'description', 'description is a text of at most 2000 characters'
           where not coalesce(jsonb_typeof(facts -> 'description') = 'string' and length(facts ->> 'description') <= 2000, false)
          union all
          select 'settings', 'settings is an object of at most 256 KB'
           where not coalesce(jsonb_typeof(facts -> 'settings') = 'object' and length(facts ->> 'settings') <= 262144, false)
          union all
          select 'visibility', 'visibility is global, restaurant or brand'
           where not coalesce(facts ->> 'visibility' in ('global', 'restaurant', 'brand'), false)
          union all
          select 'brand', 'a template for a brand names it, in 1 to 100 characters; another names none'
           where (facts ->> 'visibility' = 'brand')
                 <> coalesce(jsonb_typeof(facts -> 'brand') = 'string' and length(btrim(facts ->> 'brand')) between 1 and 100, false)
              or jsonb_typeof(facts -> 'brand') not in ('string', 'null')
          union all
          select 'restaurants', 'restaurants is a list of ids; a template for restaurants names one at least, another names none'
           where of_keys && array['restaurants', 'visibility']      -- else those that were deleted since would be in the way
             and (jsonb_typeof(facts -> 'restaurants') is distinct from 'array'
              or (facts ->> 'visibility' = 'restaurant') <> (facts -> 'restaurants' <> '[]')
              or facts -> 'restaurants' @? '$[*] ? (@.type() != "string" || !(@ like_regex "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"))')
         ) p (path, message);
  perform makeready.refuse_problems(v_found);
  perform makeready.restaurant_refuse(e.id::uuid) from jsonb_array_elements_text(facts -> 'restaurants') e (id)
    where 'restaurants' = any (of_keys)
      and not exists (select from makeready.restaurants r where r.id = e.id::uuid and r.deleted_at is null);
end
$$;
comment on function makeready.posm_template_check(jsonb, text[]) is
  'Raises MR422 for what a template cannot be, MR404 for a restaurant that there is not. of_keys: what the caller named. Internal.';

create or replace function makeready.posm_template_link(template uuid, restaurant_list jsonb)
  returns void
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  update makeready.posm_template_restaurants l set deleted_at = makeready.now()
   where l.template_id = template and l.deleted_at is null
     and l.restaurant_id not in (select e.id::uuid from jsonb_array_elements_text(restaurant_list) e (id));
  insert into makeready.posm_template_restaurants (template_id, restaurant_id, created_at)
  select distinct template, e.id::uuid, makeready.now() from jsonb_array_elements_text(restaurant_list) e (id)
  on conflict do nothing
$$;
comment on function makeready.posm_template_link(uuid, jsonb) is 'Makes a template be for these restaurants and no others. Internal.';

create or replace function makeready.posm_template_file_add(template uuid, stored jsonb, found_in_it jsonb)
  returns uuid
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_most bigint := (select p.max_template_bytes from makeready.posm_policy p);
  v_file uuid := makeready.uuid7();
begin
  if (stored ->> 'size_bytes')::bigint > v_most then
    raise exception 'a template of % bytes is too big: % at most', stored ->> 'size_bytes', v_most
      using errcode = 'MR422', detail = json_build_object('code', 'payload_too_large', 'max_bytes', v_most, 'received_bytes', stored -> 'size_bytes'),
            hint = 'Pictures of 300 dpi are enough for print.';
  end if;
  perform makeready.file_keep(stored, v_file);
  insert into makeready.posm_template_files (id, template_id, bucket, object_key, sha256, size_bytes, inspection, created_at)
  values (v_file, template, stored ->> 'bucket', stored ->> 'key', decode(stored ->> 'sha256', 'hex'), (stored ->> 'size_bytes')::bigint,
          found_in_it, makeready.now());
  return v_file;
end
$$;
comment on function makeready.posm_template_file_add(uuid, jsonb, jsonb) is 'Enters a stored PDF of a template. MR422 payload_too_large. Internal.';

create or replace function makeready.posm_template_create(what jsonb, stored jsonb, found_in_it jsonb, asked_by text default null,
    request_key text default null, body_hash bytea default null)
  returns table (verdict text, template uuid, row_version integer)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_by      text := coalesce(asked_by, 'database:' || session_user);
  v_new     uuid := makeready.uuid7();
  v_verdict text := 'created';
  v_facts   jsonb := '{"name": null, "description": "", "settings": {}, "visibility": "global", "brand": null, "restaurants": []}'::jsonb || what;
  v_now     timestamptz;
begin
  if request_key is not null then
    select t.verdict, t.target_id into v_verdict, v_new
      from makeready.request_take('staff:' || v_by, 'posm_template_create', request_key,
             coalesce(body_hash, sha256(convert_to(concat_ws(' ', what, stored ->> 'sha256'), 'UTF8'))), 'posm', v_new) t;
  end if;
  if v_verdict = 'created' then
    perform makeready.posm_template_check(v_facts, array(select jsonb_object_keys(what)));
    v_now := makeready.now();
    insert into makeready.posm_templates (id, name, description, fields, visibility, brand, file_id, author, created_at, updated_at)
    values (v_new, btrim(v_facts ->> 'name'), v_facts ->> 'description', v_facts -> 'settings', v_facts ->> 'visibility',
            btrim(v_facts ->> 'brand'), v_new, v_by, v_now, v_now);
    update makeready.posm_templates t set file_id = makeready.posm_template_file_add(v_new, stored, found_in_it) where t.id = v_new;
    perform makeready.posm_template_link(v_new, v_facts -> 'restaurants');
    perform makeready.audit('posm_template_create', v_new::text, null, v_facts || jsonb_build_object('sha256', stored -> 'sha256'), null);
  end if;
  return query select v_verdict, v_new, t.version from makeready.posm_templates t where t.id = v_new;
end
$$;
comment on function makeready.posm_template_create(jsonb, jsonb, jsonb, text, text, bytea) is
  'Enters a template whose PDF is stored (as file_keep takes it) and was inspected: {name, description, settings, visibility, brand, restaurants}. The same request key of the same person again returns the same one (verdict replayed). MR404, MR422. Audited.';

create or replace function makeready.posm_template_set(template uuid, changes jsonb, known integer default null, stored jsonb default null,
    found_in_it jsonb default null, because text default null)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_row    makeready.posm_templates := makeready.posm_template_lock(template);
  v_before jsonb := makeready.posm_template_facts(v_row);
  v_facts  jsonb;
  v_file   uuid := v_row.file_id;
begin
  perform makeready.refuse_stale('template ' || template, known, v_row.version);
  -- Who says only for whom it is now says whom it is not for any more.
  v_facts := v_before || case when changes ->> 'visibility' <> 'brand' then '{"brand": null}' else '{}' end::jsonb
                      || case when changes ->> 'visibility' <> 'restaurant' then '{"restaurants": []}' else '{}' end::jsonb || changes;
  perform makeready.posm_template_check(v_facts, array(select jsonb_object_keys(changes)));
  if stored is not null then
    v_file := makeready.posm_template_file_add(template, stored, found_in_it);
    perform makeready.file_release(v_row.file_id);
  end if;
  update makeready.posm_templates t
     set name = btrim(v_facts ->> 'name'), description = v_facts ->> 'description', fields = v_facts -> 'settings',
         visibility = v_facts ->> 'visibility', brand = btrim(v_facts ->> 'brand'), file_id = v_file, version = t.version + 1,
         updated_at = makeready.now()
   where t.id = template
  returning t.version into v_row.version;
  perform makeready.posm_template_link(template, v_facts -> 'restaurants');
  perform makeready.audit('posm_template_set', template::text, v_before, v_facts || case when stored is null then '{}'
                            else jsonb_build_object('sha256', stored -> 'sha256') end, because);
  return v_row.version;
end
$$;
comment on function makeready.posm_template_set(uuid, jsonb, integer, jsonb, jsonb, text) is
  'Changes what is named of a template, and with stored its PDF; returns the new version. Generations keep what they were asked for with. known: the version that was read. MR404, MR409 stale_version, MR422. Audited.';

create or replace function makeready.posm_template_delete(template uuid, known integer default null, because text default null)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_row makeready.posm_templates := makeready.posm_template_lock(template);
begin
  perform makeready.refuse_stale('template ' || template, known, v_row.version);
  update makeready.posm_templates t set deleted_at = makeready.now(), version = t.version + 1 where t.id = template;
  perform makeready.posm_template_link(template, '[]');
  perform makeready.file_release(v_row.file_id);
  perform makeready.audit('posm_template_delete', template::text, makeready.posm_template_facts(v_row), null, because);
end
$$;
comment on function makeready.posm_template_delete(uuid, integer, text) is
  'No longer offers a template; what was made of it stays, and what is being made of it is finished. MR404, MR409 stale_version. Audited.';

create or replace function makeready.posm_template_is_visible(template makeready.posm_templates, restaurant makeready.restaurants)
  returns boolean
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select case template.visibility
           when 'global' then true
           when 'brand' then coalesce(template.brand = restaurant.brand, false)
           else exists (select from makeready.posm_template_restaurants l
                         where l.template_id = template.id and l.restaurant_id = restaurant.id and l.deleted_at is null) end
$$;
comment on function makeready.posm_template_is_visible(makeready.posm_templates, makeready.restaurants) is
  'Whether a template is offered to a restaurant; to none at all only if it is global. Internal.';

create or replace function makeready.posm_template_list(for_restaurant uuid default null, search_text text default null,
    max_rows integer default 50, older_than uuid default null, only_this uuid default null)
  returns table (template uuid, title text, about text, fields jsonb, for_whom text, brand_name text, restaurant_ids uuid[], row_version integer,
                 made_by text, made_at timestamptz, changed_at timestamptz, file uuid, bucket_name text, object_name text,
                 hash_sha256 bytea, byte_count bigint, found_in_it jsonb)
  language plpgsql
  stable
  security definer
  set search_path = ''
  set jit = off
  set plan_cache_mode = force_custom_plan
as $$
declare
  v_restaurant makeready.restaurants;
begin
  if for_restaurant is not null then
    select * into v_restaurant from makeready.restaurants r where r.id = for_restaurant and r.deleted_at is null;
    if not found then
      perform makeready.restaurant_refuse(for_restaurant);
    end if;
  end if;
  return query
    select t.id, t.name, t.description, t.fields, t.visibility, t.brand,
           array(select l.restaurant_id from makeready.posm_template_restaurants l where l.template_id = t.id and l.deleted_at is null order by l.id),
           t.version, t.author, t.created_at, t.updated_at, f.id, f.bucket, f.object_key, f.sha256, f.size_bytes, f.inspection
      from makeready.posm_templates t
      join makeready.posm_template_files f on f.id = t.file_id
     where t.deleted_at is null
       and (only_this is null or t.id = only_this)
       and (for_restaurant is null or makeready.posm_template_is_visible(t, v_restaurant))
       and (search_text is null or position(lower(search_text) in lower(t.name || ' ' || t.description)) > 0)
       and (posm_template_list.older_than is null or (t.created_at, t.id) < (
             select o.created_at, o.id from makeready.posm_templates o where o.id = posm_template_list.older_than))
     order by t.created_at desc, t.id desc
     limit max_rows;
end
$$;
comment on function makeready.posm_template_list(uuid, text, integer, uuid, uuid) is
  'Templates, newest first: all, or those offered to a restaurant (MR404); older_than is the last one of the page before; only_this: that one.';

create or replace trigger posm_template_files_let_go
  after delete on makeready.posm_template_files referencing old table as gone
  for each statement execute function makeready.file_referrers_gone();
comment on trigger posm_template_files_let_go on makeready.posm_template_files is 'PDFs of deleted templates are deleted with the unused files.';

grant execute on function
  makeready.posm_template_create(jsonb, jsonb, jsonb, text, text, bytea), makeready.posm_template_set(uuid, jsonb, integer, jsonb, jsonb, text),
  makeready.posm_template_delete(uuid, integer, text), makeready.posm_template_list(uuid, text, integer, uuid, uuid)
to makeready_http, makeready_ops;
