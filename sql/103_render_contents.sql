-- Render, content of its own: documents that were not in the data of a pack when it was made, or are printed otherwise.
--
-- Three come this way: sections and Markdown that a caller sends for a document of a pack, HTML with its assets, and the
-- trial of a document type that is not published yet. Each is a render like any other, so that states, files, retries
-- and what a failure leaves behind are the same.

create or replace function makeready.render_own_add(of_pack makeready.packs, document text, form text, own_content jsonb,
    own_title text, pinned_version text, new_content uuid, new_job uuid, stored uuid default null, kept interval default null)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_now timestamptz := makeready.now();
begin
  if jsonb_typeof(own_content) is distinct from 'object' or length(own_title) not between 1 and 200 then
    raise exception 'the content of a document is an object, its title has 1 to 200 characters'
      using errcode = 'MR422', detail = json_build_object('doc_id', document), hint = 'Leave the title out for that of the document type.';
  end if;
  perform makeready.render_refuse_size(pg_column_size(own_content)) where pg_column_size(own_content) > 16777216;
  perform makeready.render_refuse_open(of_pack.id, document);
  insert into makeready.render_contents (id, pack_id, doc_id, layout, type_version, title, content, sources_id, sources_until, created_at)
  values (new_content, of_pack.id, document, form, pinned_version, own_title, own_content, stored, v_now + kept, v_now);
  perform makeready.render_add(of_pack, array[document], new_job, array[new_job]);
end
$$;
comment on function makeready.render_own_add(makeready.packs, text, text, jsonb, text, text, uuid, uuid, uuid, interval) is
  'Gives a document of a locked pack content of its own and opens a render of it. MR409 while one is open, MR422 when it is too large. Internal.';

create or replace function makeready.render_own(person uuid, document text, form text, own_content jsonb, own_title text default null,
    in_pack uuid default null, in_session uuid default null, language text default 'ru', pinned_version text default null,
    request_key text default null)
  returns table (verdict text, pack uuid, job_id uuid)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_job     uuid := makeready.uuid7();
  v_verdict text := 'created';
  v_pack    makeready.packs;
begin
  if request_key is not null then
    select t.verdict, t.target_id into v_verdict, v_job
      from makeready.request_take(coalesce('user:' || person, 'database:' || session_user), 'render_own', request_key,
             sha256(convert_to(concat_ws(' ', document, form, in_pack, in_session, language, pinned_version, own_title, own_content), 'UTF8')),
             'render', v_job) t;
  end if;
  if v_verdict <> 'created' then
    return query select v_verdict, (select d.pack_id from makeready.pack_documents d where d.job_id = v_job), v_job;
    return;
  end if;
  if in_pack is not null then
    v_pack := makeready.render_lock_pack(person, in_pack);
    if v_pack.session_id <> in_session then
      perform makeready.render_refuse_pack(in_pack);
    end if;
  end if;
  if pinned_version is null then          -- what is pinned was chosen by staff, who try what others cannot use yet
    perform makeready.render_type(document);
    perform makeready.render_type(form);
  end if;
  if in_pack is null then
    v_pack := makeready.render_pack_open(person, language, in_session, makeready.uuid7(), false);
  end if;
  perform makeready.render_own_add(v_pack, document, form, own_content, own_title, pinned_version, makeready.uuid7(), v_job);
  return query select v_verdict, v_pack.id, v_job;
end
$$;
comment on function makeready.render_own(uuid, text, text, jsonb, text, uuid, uuid, text, text, text) is
  'Prints a document with the template of another document type (form), or of a pinned version of one, from content that comes with the call: in a pack of the user, or in a new one. MR404: not yours, or no such document. MR409 while a render of it is open.';

create or replace function makeready.render_html(person uuid, how jsonb, new_content uuid, bucket_name text, object_name text, byte_count bigint,
    hash_sha256 bytea, etag_value text, own_title text default null, language text default 'ru', request_key text default null,
    body_hash bytea default null)
  returns table (verdict text, pack uuid, job_id uuid)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_job     uuid := makeready.uuid7();
  v_verdict text := 'created';
  v_pack    makeready.packs;
  v_stored  uuid;
begin
  if request_key is not null then
    select t.verdict, t.target_id into v_verdict, v_job
      from makeready.request_take('user:' || person, 'render_html', request_key, coalesce(body_hash, hash_sha256), 'render', v_job) t;
  end if;
  if v_verdict <> 'created' then
    return query select v_verdict, (select d.pack_id from makeready.pack_documents d where d.job_id = v_job), v_job;
    return;
  end if;
  perform makeready.render_type('html');
  v_pack := makeready.render_pack_open(person, language, null, makeready.uuid7(), false);
  v_stored := makeready.file_store(bucket_name, object_name, 'application/zip', byte_count, hash_sha256, etag_value, new_content);
  perform makeready.render_own_add(v_pack, 'html', 'html', how, own_title, '', new_content, v_job, v_stored,
                                   (select p.keep_sources from makeready.render_policy p));
  return query select v_verdict, v_pack.id, v_job;
end
$$;
comment on function makeready.render_html(uuid, jsonb, uuid, text, text, bigint, bytea, text, text, text, text, bytea) is
  'Prints HTML of the user''s own: an archive of it lies in storage already. how says how it is printed. The same request key again, with the same body_hash, is the same job: then the archive is not referred to (verdict joined or replayed).';

grant execute on function makeready.render_own(uuid, text, text, jsonb, text, uuid, uuid, text, text, text) to makeready_http;
grant execute on function makeready.render_html(uuid, jsonb, uuid, text, text, bigint, bytea, text, text, text, text, bytea) to makeready_http;
