-- Document types, as shipped: what a release says, and what staff lay over it.
--
-- Every process that prints or lists documents says at its start what its release ships. During a roll-out releases
-- differ: the latest one that ever spoke counts, an older one changes nothing. Of two processes of one release the last
-- one counts. A version that staff have published stays in force whatever is shipped; an alert says what waits.

create or replace function makeready.document_type_apply(version_row makeready.document_type_versions)
  returns void
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  update makeready.document_types t
     set version        = version_row.hash,
         title_ru       = coalesce(nullif(left(version_row.design #>> '{titles,ru}', 200), ''), t.title_ru),
         title_en       = coalesce(nullif(left(version_row.design #>> '{titles,en}', 200), ''), t.title_en),
         description_ru = coalesce(left(version_row.design #>> '{descriptions,ru}', 2000), ''),
         description_en = coalesce(left(version_row.design #>> '{descriptions,en}', 2000), ''),
         tier           = case version_row.design ->> 'tier' when 'paid' then 'paid' else 'free' end,
         is_enabled     = coalesce(version_row.design -> 'enabled' <> 'false', true)
   where t.id = version_row.doc_id
$$;
comment on function makeready.document_type_apply(makeready.document_type_versions) is
  'Repeats in the registry what lists need of the version that came into force. Internal.';

create or replace function makeready.document_type_next(document text, counted text)
  returns integer
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select coalesce(max(case counted when 'number' then v.number else v.publication end), 0) + 1
    from makeready.document_type_versions v where v.doc_id = document
$$;
comment on function makeready.document_type_next(text, text) is
  'The next number, or the next place in the order of publications. The caller holds the type''s lock. Internal.';

create or replace function makeready.document_type_retire(document text, is_taken_back boolean)
  returns void
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  update makeready.document_type_versions v
     set state = 'retired', publication = case when is_taken_back then null else v.publication end
   where v.doc_id = document and v.state = 'published'
$$;
comment on function makeready.document_type_retire(text, boolean) is
  'Takes the version in force out of it; taken back, no rollback ever returns to it. Internal.';

-- The place of what is shipped in the order of publications moves on to each new shipped version: a rollback never goes
-- back to one whose assets the release has no more.
create or replace function makeready.document_type_ship_version(document text, shipped_hash text, new_design jsonb, is_in_force boolean)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_now   timestamptz := makeready.now();
  v_row   makeready.document_type_versions;
  v_place integer;
begin
  select * into v_row from makeready.document_type_versions v
   where v.doc_id = document and v.origin = 'shipped' and v.hash = shipped_hash order by v.number desc limit 1;
  if found and (v_row.state = 'published') = is_in_force and (is_in_force or v_row.publication is not null) then
    return;
  end if;
  select v.publication into v_place from makeready.document_type_versions v
   where v.doc_id = document and v.origin = 'shipped' and v.publication is not null order by v.publication desc limit 1;
  if is_in_force then
    v_place := makeready.document_type_next(document, 'publication');
    perform makeready.document_type_retire(document, true);
  end if;
  update makeready.document_type_versions v set publication = null
   where v.doc_id = document and v.origin = 'shipped' and v.publication is not null and v.state <> 'published';
  if v_row.id is null then
    insert into makeready.document_type_versions (id, doc_id, number, origin, hash, design, state, made_by, created_at, changed_at, checked_at)
    values (makeready.uuid7(), document, makeready.document_type_next(document, 'number'), 'shipped', shipped_hash, new_design, 'valid',
            session_user, v_now, v_now, v_now)
    returning * into v_row;
  end if;
  update makeready.document_type_versions v
     set state = case when is_in_force then 'published' when v_place is not null then 'retired' else 'valid' end,
         publication = v_place, published_at = case when is_in_force then v_now else v.published_at end
   where v.id = v_row.id;
end
$$;
comment on function makeready.document_type_ship_version(text, text, jsonb, boolean) is
  'Enters a shipped version: in force, or waiting behind what staff have published. Internal.';

create or replace function makeready.document_type_ship(facts jsonb, release integer[])
  returns boolean
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_now     timestamptz := makeready.now();
  v_doc     text := facts ->> 'id';
  v_hash    text := coalesce(facts ->> 'version', '');
  v_before  makeready.document_types;
  v_after   makeready.document_types;
  v_is_ours boolean;
begin
  -- Most processes find all as they ship it: those lock nothing, so that many may start at once.
  if exists (select from makeready.document_types t
              where t.id = v_doc and t.is_shipped and t.shipped_version = v_hash and t.shipped_by is not distinct from nullif(release, '{}')
                and (t.version <> v_hash
                     or (t.title_ru, t.title_en, t.description_ru, t.description_en, t.tier, t.is_enabled)
                        is not distinct from (facts ->> 'title_ru', facts ->> 'title_en', coalesce(facts ->> 'description_ru', ''),
                                              coalesce(facts ->> 'description_en', ''), coalesce(facts ->> 'tier', 'free'),
                                              coalesce((facts ->> 'enabled')::boolean, true))))
     and (jsonb_typeof(facts -> 'design') is distinct from 'object'
          or exists (select from makeready.document_type_versions v
                      where v.doc_id = v_doc and v.origin = 'shipped' and v.hash = v_hash)) then
    return false;
  end if;
  insert into makeready.document_types as t (id, title_ru, title_en, is_shipped, synced_at)
  values (v_doc, facts ->> 'title_ru', facts ->> 'title_en', false, v_now)
  on conflict on constraint document_types_pk do nothing;
  select * into v_before from makeready.document_types t where t.id = v_doc for no key update;
  if coalesce(v_before.shipped_by, '{}') > release then
    return false;
  end if;
  v_is_ours := not exists (select from makeready.document_type_versions v
                            where v.doc_id = v_doc and v.state = 'published' and v.origin = 'staff');
  if v_is_ours then
    update makeready.document_types t
       set title_ru = facts ->> 'title_ru', title_en = facts ->> 'title_en', version = v_hash,
           description_ru = coalesce(facts ->> 'description_ru', ''), description_en = coalesce(facts ->> 'description_en', ''),
           tier = coalesce(facts ->> 'tier', 'free'), is_enabled = coalesce((facts ->> 'enabled')::boolean, true)
     where t.id = v_doc;
  elsif v_before.shipped_version <> v_hash then
    perform makeready.alert('warning', 'shipped_type_waits', jsonb_build_object('doc_id', v_doc, 'shipped', v_hash, 'in_force', v_before.version));
  end if;
  update makeready.document_types t set is_shipped = true, shipped_version = v_hash, shipped_by = nullif(release, '{}')
   where t.id = v_doc returning * into v_after;
  if jsonb_typeof(facts -> 'design') = 'object' then
    perform makeready.document_type_ship_version(v_doc, v_hash, facts -> 'design', v_is_ours);
  end if;
  v_after.shipped_by := v_before.shipped_by;
  if v_after is not distinct from v_before then
    return false;
  end if;
  update makeready.document_types t set synced_at = v_now where t.id = v_doc;
  return true;
end
$$;
comment on function makeready.document_type_ship(jsonb, integer[]) is
  'Enters what one release ships under one id; true when that changed the registry. Internal.';

create or replace function makeready.document_types_unship(kept text[], release integer[])
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_doc   text;
  v_count integer := 0;
begin
  for v_doc in
    select t.id from makeready.document_types t
     where t.is_shipped and not t.id = any (kept) and coalesce(t.shipped_by, '{}') <= release order by t.id for no key update
  loop
    update makeready.document_type_versions v set publication = null
     where v.doc_id = v_doc and v.origin = 'shipped' and v.state = 'retired';
    update makeready.document_type_versions v set state = 'retired', publication = null
     where v.doc_id = v_doc and v.origin = 'shipped' and v.state = 'published';
    update makeready.document_types t
       set is_shipped = false, shipped_version = '', synced_at = makeready.now(), shipped_by = nullif(release, '{}'),
           version = coalesce((select v.hash from makeready.document_type_versions v where v.doc_id = v_doc and v.state = 'published'), '')
     where t.id = v_doc;
    v_count := v_count + 1;
  end loop;
  return v_count;
end
$$;
comment on function makeready.document_types_unship(text[], integer[]) is
  'Takes out of force what is not shipped any more; versions of staff stay. Returns how many types it touched. Internal.';

-- A process of a release that knew nothing of releases calls this with the list alone: it counts as the oldest.
drop function if exists makeready.render_types_sync(jsonb);
create or replace function makeready.render_types_sync(types jsonb, release integer[] default '{}')
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_type  jsonb;
  v_count integer := 0;
begin
  if coalesce(jsonb_array_length(types), 0) = 0 then
    raise exception 'there is no document type in this list'
      using errcode = 'MR422', hint = 'An empty list would take every document out of the registry.';
  end if;
  for v_type in select g.value from jsonb_array_elements(types) g order by g.value ->> 'id' loop
    v_count := v_count + makeready.document_type_ship(v_type, release)::integer;
  end loop;
  return v_count + makeready.document_types_unship(array(select g.value ->> 'id' from jsonb_array_elements(types) g), release);
end
$$;
comment on function makeready.render_types_sync(jsonb, integer[]) is
  'Enters what a release ships, unless a later one has spoken: an array of {id, title_ru, title_en, description_ru, description_en, tier, enabled, version, design}. Returns how many types changed.';

create or replace function makeready.document_types_downgrade(because text)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_count integer;
begin
  update makeready.document_types t set shipped_by = null where t.shipped_by is not null;
  get diagnostics v_count = row_count;
  perform makeready.audit('document_types_downgrade', 'document_types', null, jsonb_build_object('types', v_count), because);
  return v_count;
end
$$;
comment on function makeready.document_types_downgrade(text) is
  'Forgets which release spoke last, so that an older one may set the registry: for going back to it on purpose. Restart its processes afterwards.';

create or replace function makeready.document_overlay_set(document text, changes jsonb, because text default null)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_old makeready.document_types;
  v_new makeready.document_types;
begin
  select * into v_old from makeready.document_types t where t.id = document for no key update;
  if not found then
    perform makeready.refuse_document(document);
  end if;
  if jsonb_typeof(changes) is distinct from 'object'
     or exists (select from jsonb_object_keys(changes) k (name) where k.name not in ('title', 'description', 'enabled', 'tier'))
     or jsonb_typeof(coalesce(changes -> 'enabled', 'null')) not in ('boolean', 'null')
     or length(changes ->> 'title') not between 1 and 200 or length(changes ->> 'description') > 2000 then
    raise exception 'a document has a title of 1 to 200 characters, a description of at most 2000, and is enabled or not'
      using errcode = 'MR422', detail = json_build_object('doc_id', document), hint = 'null: as the version says.';
  end if;
  if changes ->> 'tier' not in ('free', 'paid') then
    raise exception 'a document is free or paid'
      using errcode = 'MR422', detail = json_build_object('code', 'invalid_request', 'field', 'tier', 'reason', 'invalid_tier'),
            hint = 'null: as the version says.';
  end if;
  update makeready.document_types t
     set title_by_staff       = case when changes ? 'title' then changes ->> 'title' else t.title_by_staff end,
         description_by_staff = case when changes ? 'description' then changes ->> 'description' else t.description_by_staff end,
         enabled_by_staff     = case when changes ? 'enabled' then (changes ->> 'enabled')::boolean else t.enabled_by_staff end,
         tier_by_staff        = case when changes ? 'tier' then changes ->> 'tier' else t.tier_by_staff end
   where t.id = document returning * into v_new;
  perform makeready.audit('document_overlay_set', document,
    jsonb_build_object('title', v_old.title_by_staff, 'description', v_old.description_by_staff,
                       'enabled', v_old.enabled_by_staff, 'tier', v_old.tier_by_staff),
    jsonb_build_object('title', v_new.title_by_staff, 'description', v_new.description_by_staff,
                       'enabled', v_new.enabled_by_staff, 'tier', v_new.tier_by_staff), because);
end
$$;
comment on function makeready.document_overlay_set(text, jsonb, text) is
  'Lays title, description, enabled or tier over what the version says: those of the four that are given; null takes one away. Audited.';

grant execute on function makeready.render_types_sync(jsonb, integer[]) to makeready_http, makeready_worker;
grant execute on function makeready.document_overlay_set(text, jsonb, text) to makeready_http, makeready_ops;
grant execute on function makeready.document_types_downgrade(text) to makeready_ops;
