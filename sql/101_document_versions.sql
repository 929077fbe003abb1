-- Document types, as staff make them: draft, check, trial render, publish, roll back. See 098_document_types.
--
-- Checking is done by the program, which compiles the template and tries the samples; the verdict is entered here and
-- counts only for the content that was checked. A trial render is an ordinary render, of a pack that is nobody's, pinned
-- to the version; publishing asks for the artifact that it made. Two calls for one type wait for each other at its row.

create or replace function makeready.document_type_lock(document text)
  returns makeready.document_types
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_type makeready.document_types;
begin
  select * into v_type from makeready.document_types t where t.id = document for no key update;
  if not found then
    perform makeready.refuse_document(document);
  end if;
  return v_type;
end
$$;
comment on function makeready.document_type_lock(text) is 'The type, locked; MR404 when unknown. Internal.';

create or replace function makeready.document_version_lock(document text, which integer, expected text)
  returns makeready.document_type_versions
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_row makeready.document_type_versions;
begin
  perform makeready.document_type_lock(document);
  select * into v_row from makeready.document_type_versions v where v.doc_id = document and v.number = which;
  if not found then
    raise exception 'document % has no version %', document, coalesce(which::text, 'null')
      using errcode = 'MR404', detail = json_build_object('code', 'document_not_found', 'doc_id', document, 'version', which),
            hint = 'makeready.document_versions lists them.';
  end if;
  if expected <> v_row.hash then
    raise exception 'version % of document % has changed', which, document
      using errcode = 'MR409', detail = json_build_object('code', 'stale_version', 'doc_id', document, 'version', which, 'hash', v_row.hash),
            hint = 'Read it again.';
  end if;
  return v_row;
end
$$;
comment on function makeready.document_version_lock(text, integer, text) is
  'One version, its type locked: MR404 when unknown, MR409 stale_version when its hash is not the expected one. Internal.';

create or replace function makeready.document_design_hash(new_design jsonb)
  returns text language sql immutable security definer set search_path = ''
as $$ select left(encode(sha256(convert_to(new_design::text, 'UTF8')), 'hex'), 32) $$;
comment on function makeready.document_design_hash(jsonb) is 'The hash that a version made by staff goes by.';

create or replace function makeready.document_design_check(new_design jsonb)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  if jsonb_typeof(new_design) is distinct from 'object' then
    raise exception 'a version of a document type is an object' using errcode = 'MR422', hint = 'See docs/document-types.md.';
  end if;
  if octet_length(new_design::text) > 4194304 then
    raise exception 'the version has % bytes without its assets', octet_length(new_design::text)
      using errcode = 'MR422', hint = 'Put pictures and fonts into assets.',
            detail = json_build_object('code', 'payload_too_large', 'max_bytes', 4194304, 'received_bytes', octet_length(new_design::text));
  end if;
end
$$;
comment on function makeready.document_design_check(jsonb) is 'Raises MR422 for a version that is no object or too large. Internal.';

-- Releases first and adopts second: nobody else sees what is between, and what stays loses no byte by it.
create or replace function makeready.document_assets_keep(version_row makeready.document_type_versions, uploads jsonb)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_wanted text[] := array(select distinct a.value ->> 'sha256' from jsonb_each(case jsonb_typeof(version_row.design -> 'assets')
                             when 'object' then version_row.design -> 'assets' else '{}' end) a where a.value ? 'sha256');
  v_files  uuid[] := array(select distinct on (f.sha256) f.id from makeready.document_type_versions v
                             join makeready.file_references r on r.refers_id = v.id
                             join makeready.files f on f.id = r.file_id
                            where v.doc_id = version_row.doc_id and encode(f.sha256, 'hex') = any (v_wanted)
                              and f.purging_at is null order by f.sha256, f.id);
  v_file   uuid;
  v_lost   text;
begin
  perform makeready.file_release(version_row.id);
  foreach v_file in array v_files loop
    perform makeready.file_adopt(v_file, version_row.id);
  end loop;
  perform makeready.file_store(u.bucket, u.key, u.media_type, u.size_bytes, decode(u.sha256, 'hex'), u.etag, version_row.id)
     from jsonb_to_recordset(uploads) u (bucket text, key text, media_type text, size_bytes bigint, sha256 text, etag text)
    where u.sha256 = any (v_wanted);
  select w.sha256 into v_lost from unnest(v_wanted) w (sha256)
   where not exists (select from makeready.file_references r join makeready.files f on f.id = r.file_id
                      where r.refers_id = version_row.id and encode(f.sha256, 'hex') = w.sha256) limit 1;
  if found then
    raise exception 'the asset with the hash % is not stored', v_lost
      using errcode = 'MR422', detail = json_build_object('doc_id', version_row.doc_id, 'sha256', v_lost),
            hint = 'Send its bytes again.';
  end if;
end
$$;
comment on function makeready.document_assets_keep(makeready.document_type_versions, jsonb) is
  'Makes the version refer to the files of its assets: those just stored, and those that another version of its type has. Internal.';

create or replace function makeready.document_draft(document text, new_design jsonb, uploads jsonb default '[]', note text default null)
  returns makeready.document_type_versions
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_now timestamptz := makeready.now();
  v_row makeready.document_type_versions;
begin
  perform makeready.document_design_check(new_design);
  if document is null or document !~ '^[a-z][a-z0-9_]{0,62}$' then
    raise exception 'no document type can be called %', coalesce(quote_literal(document), 'null')
      using errcode = 'MR422', detail = json_build_object('code', 'invalid_request', 'field', 'key', 'reason', 'unsupported_key'),
            hint = 'Small letters, digits and underscores; a letter first.';
  end if;
  insert into makeready.document_types as t (id, title_ru, title_en, is_shipped, is_enabled, synced_at)
  values (document, document, document, false, true, v_now) on conflict on constraint document_types_pk do nothing;
  perform makeready.document_type_lock(document);
  insert into makeready.document_type_versions (id, doc_id, number, origin, hash, design, state, remark, made_by, created_at, changed_at)
  values (makeready.uuid7(), document, makeready.document_type_next(document, 'number'), 'staff', makeready.document_design_hash(new_design),
          new_design, 'draft', note, makeready.acting_as(), v_now, v_now)
  returning * into v_row;
  perform makeready.document_assets_keep(v_row, uploads);
  perform makeready.audit('document_draft', document, null, jsonb_build_object('version', v_row.number, 'hash', v_row.hash), note);
  return v_row;
end
$$;
comment on function makeready.document_draft(text, jsonb, jsonb, text) is
  'A new version of a document type, or the first one of a new type, as a draft. uploads: what was just stored for its assets. Audited.';

create or replace function makeready.document_draft_lock(document text, which integer, expected text)
  returns makeready.document_type_versions
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_row makeready.document_type_versions := makeready.document_version_lock(document, which, expected);
begin
  if v_row.origin <> 'staff' or v_row.state not in ('draft', 'valid', 'invalid') then
    raise exception 'version % of document % is % and does not change any more', which, document, v_row.state
      using errcode = 'MR409', detail = json_build_object('reason', 'not_a_draft', 'doc_id', document, 'version', which, 'state', v_row.state),
            hint = 'Make a draft of it.';
  end if;
  return v_row;
end
$$;
comment on function makeready.document_draft_lock(text, integer, text) is
  'document_version_lock of a version that was never in force, else MR409 not_a_draft. Internal.';

create or replace function makeready.document_update(document text, which integer, new_design jsonb, uploads jsonb default '[]',
    expected text default null, note text default null)
  returns makeready.document_type_versions
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_old makeready.document_type_versions;
  v_new makeready.document_type_versions;
begin
  perform makeready.document_design_check(new_design);
  v_old := makeready.document_draft_lock(document, which, expected);
  update makeready.document_type_versions v
     set design = new_design, hash = makeready.document_design_hash(new_design), state = 'draft', problems = '[]', checked_at = null, trial_job = null,
         changed_at = makeready.now(), remark = coalesce(note, v.remark),
         made_by = makeready.acting_as()
   where v.id = v_old.id returning * into v_new;
  perform makeready.document_assets_keep(v_new, uploads);
  perform makeready.audit('document_update', document, jsonb_build_object('version', which, 'hash', v_old.hash),
                          jsonb_build_object('version', which, 'hash', v_new.hash), note);
  return v_new;
end
$$;
comment on function makeready.document_update(text, integer, jsonb, jsonb, text, text) is
  'Replaces the content of a draft, which has to be checked and tried anew. MR409: it was in force already, or has not the expected hash. Audited.';

create or replace function makeready.document_discard(document text, which integer, expected text default null, note text default null)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_old makeready.document_type_versions := makeready.document_draft_lock(document, which, expected);
begin
  delete from makeready.document_type_versions v where v.id = v_old.id;
  perform makeready.audit('document_discard', document, jsonb_build_object('version', which, 'hash', v_old.hash, 'state', v_old.state), null, note);
end
$$;
comment on function makeready.document_discard(text, integer, text, text) is
  'Deletes a version that was never in force; a trial of it that has not begun fails. Of the last version the number is given again. MR409: it was in force, or has not the expected hash. Audited.';

create or replace function makeready.document_checked(document text, which integer, seen text, found_problems jsonb)
  returns makeready.document_type_versions
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_row makeready.document_type_versions := makeready.document_version_lock(document, which, seen);
begin
  if v_row.state not in ('draft', 'valid', 'invalid') then
    return v_row;
  end if;
  update makeready.document_type_versions v
     set state = case found_problems when '[]' then 'valid' else 'invalid' end, problems = found_problems, checked_at = makeready.now()
   where v.id = v_row.id returning * into v_row;
  perform makeready.audit('document_checked', document, null,
    jsonb_build_object('version', which, 'hash', v_row.hash, 'state', v_row.state, 'problems', jsonb_array_length(found_problems)), null);
  return v_row;
end
$$;
comment on function makeready.document_checked(text, integer, text, jsonb) is
  'Enters what a check of the content with this hash has found: valid without problems, else invalid. MR409 when the content has changed since. Audited.';

create or replace function makeready.document_trial(document text, which integer, seen text, language text, sample_data jsonb)
  returns uuid
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_row makeready.document_type_versions := makeready.document_version_lock(document, which, seen);
  v_job uuid;
begin
  if v_row.state in ('draft', 'invalid') then
    raise exception 'version % of document % is not valid', which, document
      using errcode = 'MR409', detail = json_build_object('reason', 'not_valid', 'doc_id', document, 'version', which, 'state', v_row.state),
            hint = 'Have it checked first.';
  end if;
  select o.job_id into v_job
    from makeready.render_own(null, document, document, sample_data, language => language, pinned_version => v_row.hash) o;
  update makeready.document_type_versions v set trial_job = v_job where v.id = v_row.id;
  perform makeready.audit('document_trial', document, null, jsonb_build_object('version', which, 'hash', v_row.hash, 'job_id', v_job), null);
  return v_job;
end
$$;
comment on function makeready.document_trial(text, integer, text, text, jsonb) is
  'Prints a valid version with this data, in a pack that is nobody''s; returns the job. Audited.';

create or replace function makeready.document_is_tried(version_row makeready.document_type_versions)
  returns boolean
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select exists (select from makeready.artifacts a
                  where a.meta ->> 'render_job_id' = version_row.trial_job::text and a.meta ->> 'type_version' = version_row.hash)
$$;
comment on function makeready.document_is_tried(makeready.document_type_versions) is
  'Whether the last trial render has made an artifact, and with exactly this content.';

create or replace function makeready.refuse_publish(version_row makeready.document_type_versions, why text, mend text)
  returns void language plpgsql volatile security definer set search_path = ''
as $$
begin
  raise exception 'version % of document % cannot be published: %', version_row.number, version_row.doc_id, why
    using errcode = 'MR422', hint = mend,
          detail = json_build_object('code', 'invalid_request', 'reason', 'publish_forbidden', 'doc_id', version_row.doc_id,
                                     'version', version_row.number, 'state', version_row.state);
end
$$;
comment on function makeready.refuse_publish(makeready.document_type_versions, text, text) is 'Raises MR422 publish_forbidden. Internal.';

create or replace function makeready.document_publish(document text, which integer, expected text default null, note text default null)
  returns makeready.document_type_versions
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_row makeready.document_type_versions := makeready.document_version_lock(document, which, expected);
  v_old jsonb;
begin
  if v_row.state = 'published' then
    return v_row;
  elsif v_row.state not in ('valid', 'retired') then
    perform makeready.refuse_publish(v_row, 'it is not valid', 'Have it checked, and mend what is found.');
  elsif v_row.origin = 'shipped' and not exists (select from makeready.document_types t where t.id = document and t.shipped_version = v_row.hash) then
    perform makeready.refuse_publish(v_row, 'the release in use does not ship it', 'Publish the shipped version that it has.');
  elsif v_row.origin = 'staff' and not makeready.document_is_tried(v_row) then
    perform makeready.refuse_publish(v_row, 'its last trial render has not ended well', 'Try it: dry-run.');
  end if;
  select jsonb_build_object('version', v.number, 'hash', v.hash) into v_old
    from makeready.document_type_versions v where v.doc_id = document and v.state = 'published';
  perform makeready.document_type_retire(document, false);
  update makeready.document_type_versions v
     set state = 'published', published_at = makeready.now(), publication = makeready.document_type_next(document, 'publication'),
         remark = coalesce(note, v.remark)
   where v.id = v_row.id returning * into v_row;
  perform makeready.document_type_apply(v_row);
  perform makeready.audit('document_publish', document, v_old, jsonb_build_object('version', which, 'hash', v_row.hash), note);
  return v_row;
end
$$;
comment on function makeready.document_publish(text, integer, text, text) is
  'Puts a version in force: valid, and its last trial render has made an artifact of exactly this content; else MR422 publish_forbidden. Audited.';

create or replace function makeready.document_rollback(document text, note text default null)
  returns makeready.document_type_versions
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_type makeready.document_types := makeready.document_type_lock(document);
  v_old  makeready.document_type_versions;
  v_row  makeready.document_type_versions;
begin
  select * into v_old from makeready.document_type_versions v where v.doc_id = document and v.state = 'published';
  select * into v_row from makeready.document_type_versions v
   where v.doc_id = document and v.state = 'retired' and v.publication < v_old.publication
     and (v.origin = 'staff' or v.hash = v_type.shipped_version)
   order by v.publication desc limit 1;
  if not found then
    raise exception 'document % has no version to go back to', document
      using errcode = 'MR422', detail = json_build_object('code', 'invalid_request', 'reason', 'no_rollback', 'doc_id', document),
            hint = 'Nothing was published before the version in force.';
  end if;
  perform makeready.document_type_retire(document, true);
  update makeready.document_type_versions v set state = 'published', published_at = makeready.now() where v.id = v_row.id returning * into v_row;
  perform makeready.document_type_apply(v_row);
  perform makeready.audit('document_rollback', document, jsonb_build_object('version', v_old.number, 'hash', v_old.hash),
                          jsonb_build_object('version', v_row.number, 'hash', v_row.hash), note);
  return v_row;
end
$$;
comment on function makeready.document_rollback(text, text) is
  'Puts the version that was published before back in force; again goes further back. MR422 no_rollback when there is none. Audited.';

grant execute on function makeready.document_draft(text, jsonb, jsonb, text) to makeready_http, makeready_ops;
grant execute on function makeready.document_update(text, integer, jsonb, jsonb, text, text) to makeready_http, makeready_ops;
grant execute on function makeready.document_discard(text, integer, text, text) to makeready_http, makeready_ops;
grant execute on function makeready.document_checked(text, integer, text, jsonb) to makeready_http, makeready_ops;
grant execute on function makeready.document_trial(text, integer, text, text, jsonb) to makeready_http, makeready_ops;
grant execute on function makeready.document_publish(text, integer, text, text) to makeready_http, makeready_ops;
grant execute on function makeready.document_rollback(text, text) to makeready_http, makeready_ops;
