-- Template media: the images of slots, and what staff registers for a while.
--
-- The file is stored first, under a path that no file has had; then it is entered here. A photo that was let in keeps the
-- images its slot had then, so one that is replaced or deleted stays in the store until all those photos have ended.

create or replace function makeready.slot_template_list(of_slot text default null, only_this uuid default null)
  returns table (template uuid, slot text, key_of_setting text, store_name text, place text, media_type text, byte_count bigint, hash_sha256 bytea,
                 called text, made_by text, made_at timestamptz, changed_at timestamptz)
  language plpgsql
  stable
  security definer
  set search_path = ''
as $$
begin
  if of_slot is not null and not exists (select from makeready.slots s where s.id = of_slot) then
    perform makeready.slot_refuse(of_slot);
  end if;
  return query
    select t.id, t.slot_id, t.setting_key, t.store, t.path, t.mime, t.size_bytes, t.checksum, t.label, t.uploaded_by, t.created_at, t.updated_at
      from makeready.slot_templates t
     where (of_slot is null or t.slot_id = of_slot) and (only_this is null or t.id = only_this)
     order by t.slot_id, t.setting_key;
end
$$;
comment on function makeready.slot_template_list(text, uuid) is 'Template media of a slot, or of all. MR404.';

create or replace function makeready.slot_template_retire(of_row makeready.slot_templates)
  returns void
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  insert into makeready.media_objects (id, kind, store, path, mime, size_bytes, sha256, created_at, created_by, expires_at)
  select gen_random_uuid(), 'template', of_row.store, of_row.path, of_row.mime, of_row.size_bytes, of_row.checksum, makeready.now(),
         makeready.acting_as(), makeready.now() + make_interval(secs => p.sync_response_s + 10)
    from makeready.ingest_policy p
$$;
comment on function makeready.slot_template_retire(makeready.slot_templates) is
  'Leaves an image that is not a slot''s any more to the cleaner, once no photo can need it. Internal.';

create or replace function makeready.slot_template_put(of_slot text, in_setting text, stored jsonb, called text default null, replaces boolean default false,
    because text default null)
  returns table (verdict text, template uuid)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_old makeready.slot_templates;
  v_new uuid;
  v_now timestamptz;
begin
  perform makeready.slot_open(of_slot);
  if in_setting is null or in_setting !~ '^[A-Za-z][A-Za-z0-9_.-]{0,59}$' or length(called) > 200 then
    raise exception 'a setting_key is 1 to 60 of A-Z a-z 0-9 _ . -, a letter first; a label has at most 200 characters'
      using errcode = 'MR422', detail = json_build_object('path', case when length(called) > 200 then 'label' else 'setting_key' end),
            hint = 'For example frame.';
  end if;
  select * into v_old from makeready.slot_templates t where t.slot_id = of_slot and t.setting_key = in_setting for update;
  if found and not replaces then
    raise exception '% has an image under % already', of_slot, in_setting
      using errcode = 'MR409', hint = 'replace takes its place.',
            detail = json_build_object('code', 'conflict', 'reason', 'exists', 'id', v_old.id, 'slot_id', of_slot, 'setting_key', in_setting);
  end if;
  v_now := makeready.now();
  if v_old.id is not null then
    perform makeready.slot_template_retire(v_old);
  end if;
  insert into makeready.slot_templates as t (id, slot_id, setting_key, store, path, mime, size_bytes, checksum, label, uploaded_by, created_at, updated_at)
  values (makeready.uuid7(), of_slot, in_setting, stored ->> 'store', stored ->> 'path', stored ->> 'media_type', (stored ->> 'size_bytes')::bigint,
          decode(stored ->> 'sha256', 'hex'), called, makeready.acting_as(), v_now, v_now)
  on conflict on constraint slot_templates_one_a_setting do update
     set store = excluded.store, path = excluded.path, mime = excluded.mime, size_bytes = excluded.size_bytes, checksum = excluded.checksum,
         label = coalesce(excluded.label, t.label), uploaded_by = excluded.uploaded_by, updated_at = excluded.updated_at
  returning t.id into v_new;
  perform makeready.audit('slot_template_put', v_new::text,
            case when v_old.id is not null then jsonb_build_object('sha256', encode(v_old.checksum, 'hex')) end,
            jsonb_build_object('slot_id', of_slot, 'setting_key', in_setting, 'sha256', stored -> 'sha256', 'label', called), because);
  return query select case when v_old.id is null then 'created' else 'replaced' end, v_new;
end
$$;
comment on function makeready.slot_template_put(text, text, jsonb, text, boolean, text) is
  'Enters a stored image ({store, path, media_type, size_bytes, sha256}) as a setting of a slot, or with replaces in place of the one that is there: its id stays. MR404, MR409, MR422. Audited.';

create or replace function makeready.slot_template_delete(wanted uuid, because text default null)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_row makeready.slot_templates;
begin
  delete from makeready.slot_templates t where t.id = wanted returning * into v_row;
  if not found then
    raise exception 'there is no template media %', coalesce(wanted::text, 'null')
      using errcode = 'MR404', detail = json_build_object('code', 'template_not_found', 'template_id', wanted),
            hint = 'makeready.slot_template_list() lists them.';
  end if;
  perform makeready.slot_template_retire(v_row);
  perform makeready.audit('slot_template_delete', wanted::text, jsonb_build_object('slot_id', v_row.slot_id, 'setting_key', v_row.setting_key,
                            'sha256', encode(v_row.checksum, 'hex')), null, because);
end
$$;
comment on function makeready.slot_template_delete(uuid, text) is
  'Takes an image from its slot; whether the slot''s operation needs it is asked by the service, not here. MR404. Audited.';

insert into makeready.throttle_rules (rule, tries, span) values ('media_register', 60, '1 minute') on conflict do nothing;      -- of one member of staff

create or replace function makeready.media_register(stored jsonb, for_photo uuid default null)
  returns table (media uuid, until_time timestamptz)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_now timestamptz := makeready.now();
begin
  perform makeready.throttle_take('media_register', makeready.acting_as());
  if for_photo is not null and not exists (select from makeready.photos h where h.id = for_photo) then
    raise exception 'there is no photo %', for_photo
      using errcode = 'MR422', detail = json_build_object('code', 'invalid_request', 'field', 'job_id', 'reason', 'unknown', 'job_id', for_photo),
            hint = 'job_id may be left out.';
  end if;
  return query
    insert into makeready.media_objects as m (id, kind, store, path, mime, size_bytes, sha256, job_id, created_at, created_by, expires_at)
    select gen_random_uuid(), 'temporary', stored ->> 'store', stored ->> 'path', stored ->> 'media_type', (stored ->> 'size_bytes')::bigint,
           decode(stored ->> 'sha256', 'hex'), for_photo, v_now, makeready.acting_as(), v_now + make_interval(secs => p.sync_response_s)
      from makeready.ingest_policy p
    returning m.id, m.expires_at;
end
$$;
comment on function makeready.media_register(jsonb, uuid) is
  'Enters a stored image that /public/media serves as long as a booth waits at most. MR422, MR429.';

grant execute on function
  makeready.slot_template_list(text, uuid), makeready.slot_template_put(text, text, jsonb, text, boolean, text),
  makeready.slot_template_delete(uuid, text), makeready.media_register(jsonb, uuid)
to makeready_http, makeready_ops;
