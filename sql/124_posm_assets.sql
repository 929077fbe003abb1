-- POSM, assets: fonts and pictures that settings name as sha256:…. They belong to nobody; equal bytes are one asset.
--
-- A generation holds on to those that its settings name, so an asset may be deleted once no template names it.

create table if not exists makeready.posm_assets (
  id         uuid        not null constraint posm_assets_pk primary key,
  kind       text        not null constraint posm_assets_kind_is_known check (kind in ('font', 'image')),
  name       text        not null constraint posm_assets_name_is_short check (length(name) between 1 and 200),
  sha256     bytea       not null,
  stored_id  uuid        not null,
  inspection jsonb       not null default '{}',
  author     text        not null,
  created_at timestamptz not null,
  deleted_at timestamptz
);
create unique index if not exists posm_assets_one_live on makeready.posm_assets (sha256) where deleted_at is null;
create index if not exists posm_assets_newest on makeready.posm_assets (created_at, id) where deleted_at is null;
comment on table makeready.posm_assets is 'Uploaded fonts and pictures.';
comment on column makeready.posm_assets.id is 'Also the reference under which files keeps the object.';
comment on column makeready.posm_assets.kind is 'font or image.';
comment on column makeready.posm_assets.name is 'The file''s name, or the font''s.';
comment on column makeready.posm_assets.sha256 is 'SHA-256 of the bytes: settings name it so.';
comment on column makeready.posm_assets.stored_id is 'The stored object; once deleted it may be gone.';
comment on column makeready.posm_assets.inspection is 'What was found in it: family and licence of a font, size of a picture.';
comment on column makeready.posm_assets.author is 'Who uploaded it.';
comment on column makeready.posm_assets.created_at is 'When it was uploaded.';
comment on column makeready.posm_assets.deleted_at is 'Since when it can no longer be named; null: it can.';

create or replace function makeready.posm_asset_names(how jsonb)
  returns setof bytea
  language sql
  immutable
  security definer
  set search_path = ''
as $$
  select distinct decode(substr(s.word #>> '{}', 8), 'hex')
    from jsonb_path_query(how, '$.** ? (@.type() == "string" && @ starts with "sha256:")') s (word)
   where s.word #>> '{}' ~ '^sha256:[0-9a-f]{64}$'
$$;
comment on function makeready.posm_asset_names(jsonb) is 'Hashes of the assets that settings name. Internal.';

create or replace function makeready.posm_asset_add(sort text, called text, stored jsonb, found_in_it jsonb default '{}', asked_by text default null)
  returns table (verdict text, asset uuid)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_asset uuid := makeready.uuid7();
  v_hash  bytea := decode(stored ->> 'sha256', 'hex');
begin
  perform makeready.refuse_problems(jsonb_build_array(jsonb_build_object('code', 'validation_failed', 'path', '',
            'message', 'an asset is a font or an image and has a name of 1 to 200 characters')))
    where not coalesce(sort in ('font', 'image') and length(called) between 1 and 200, false);
  insert into makeready.posm_assets (id, kind, name, sha256, stored_id, inspection, author, created_at)
  values (v_asset, sort, called, v_hash, v_asset, coalesce(found_in_it, '{}'), coalesce(asked_by, 'database:' || session_user), makeready.now())
  on conflict (sha256) where deleted_at is null do nothing;
  if not found then
    return query select 'known'::text, a.id from makeready.posm_assets a where a.sha256 = v_hash and a.deleted_at is null;
    return;
  end if;
  update makeready.posm_assets a set stored_id = makeready.file_keep(stored, v_asset) where a.id = v_asset;
  perform makeready.audit('posm_asset_add', v_asset::text, null, jsonb_build_object('kind', sort, 'name', called, 'sha256', stored -> 'sha256'), null);
  return query select 'created'::text, v_asset;
end
$$;
comment on function makeready.posm_asset_add(text, text, jsonb, jsonb, text) is
  'Enters a stored font or image, as file_keep takes it; known: these bytes are there already, and the object that was stored now is not needed. MR422. Audited.';

create or replace function makeready.posm_asset_delete(asset uuid, because text default null)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_row  makeready.posm_assets;
  v_used jsonb;
begin
  select * into v_row from makeready.posm_assets a where a.id = asset and a.deleted_at is null for no key update;
  if not found then
    raise exception 'there is no asset %', coalesce(asset::text, 'null')
      using errcode = 'MR404', detail = json_build_object('code', 'media_not_found', 'asset_id', asset), hint = 'It may have been deleted.';
  end if;
  select jsonb_agg(jsonb_build_object('template_id', t.id, 'name', t.name) order by t.created_at) into v_used
    from makeready.posm_templates t where t.deleted_at is null and v_row.sha256 in (select makeready.posm_asset_names(t.fields));
  if v_used is not null then
    raise exception 'asset % is in use by template %', asset, v_used -> 0 ->> 'name'
      using errcode = 'MR409', detail = json_build_object('code', 'conflict', 'reason', 'in_use', 'asset_id', asset, 'templates', v_used),
            hint = 'Take it out of their settings first.';
  end if;
  update makeready.posm_assets a set deleted_at = makeready.now() where a.id = asset;
  perform makeready.file_release(asset);
  perform makeready.audit('posm_asset_delete', asset::text,
            jsonb_build_object('kind', v_row.kind, 'name', v_row.name, 'sha256', encode(v_row.sha256, 'hex')), null, because);
end
$$;
comment on function makeready.posm_asset_delete(uuid, text) is
  'Deletes an asset that no template names; generations keep theirs. MR404, MR409 in_use. Audited.';

create or replace function makeready.posm_asset_list(of_sort text default null, hashes bytea[] default null, max_rows integer default 50,
    older_than uuid default null, only_this uuid default null)
  returns table (asset uuid, sort text, title text, hash_sha256 bytea, bucket_name text, object_name text, media_type text, byte_count bigint,
                 found_in_it jsonb, made_by text, made_at timestamptz)
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select a.id, a.kind, a.name, a.sha256, f.bucket, f.object_key, f.content_type, f.size_bytes, a.inspection, a.author, a.created_at
    from makeready.posm_assets a
    join makeready.files f on f.id = a.stored_id
   where a.deleted_at is null
     and (of_sort is null or a.kind = of_sort)
     and (hashes is null or a.sha256 = any (hashes))
     and (only_this is null or a.id = only_this)
     and (posm_asset_list.older_than is null or (a.created_at, a.id) < (
           select o.created_at, o.id from makeready.posm_assets o where o.id = posm_asset_list.older_than))
   order by a.created_at desc, a.id desc
   limit max_rows
$$;
comment on function makeready.posm_asset_list(text, bytea[], integer, uuid, uuid) is
  'Assets, newest first, by kind or by hash; older_than is the last one of the page before; only_this: that one.';

create or replace trigger posm_assets_let_go
  after delete on makeready.posm_assets referencing old table as gone
  for each statement execute function makeready.file_referrers_gone();
comment on trigger posm_assets_let_go on makeready.posm_assets is 'Objects of deleted assets are deleted with the unused files.';

grant execute on function
  makeready.posm_asset_add(text, text, jsonb, jsonb, text), makeready.posm_asset_delete(uuid, text),
  makeready.posm_asset_list(text, bytea[], integer, uuid, uuid)
to makeready_http, makeready_ops;
