-- Debug: a file that no render has made, to try storage and downloads with. The route is there under DEBUG only.

create or replace function makeready.debug_file_publish(person uuid, in_session uuid, bucket_name text, object_name text,
    media_type text, byte_count bigint, hash_sha256 bytea, etag_value text)
  returns table (made_artifact uuid, made_file uuid)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_now      timestamptz := makeready.now();
  v_session  uuid := in_session;
  v_file     uuid := makeready.uuid7();
  v_stored   uuid;
  v_artifact uuid := makeready.uuid7();
begin
  if v_session is null then
    v_session := makeready.session_create(person, 'test file');
  elsif not exists (select from makeready.sessions s where s.id = v_session and s.user_id = person) then
    raise exception 'there is no session % of yours', v_session
      using errcode = 'MR404', detail = json_build_object('code', 'session_not_found', 'session_id', v_session),
            hint = 'Leave the session out and one is made.';
  end if;
  v_stored := makeready.file_store(bucket_name, object_name, media_type, byte_count, hash_sha256, etag_value, v_file);
  insert into makeready.artifacts (id, session_id, kind, format, meta, created_at)
  values (v_artifact, v_session, 'test_pdf', 'pdf', '{"test": true}', v_now);
  insert into makeready.artifact_files (id, artifact_id, stored_id, filename, created_at)
  values (v_file, v_artifact, v_stored, 'test.pdf', v_now);
  return query select v_artifact, v_file;
end
$$;
comment on function makeready.debug_file_publish(uuid, uuid, text, text, text, bigint, bytea, text) is
  'Lists a stored file as one of a user''s, in a session of theirs or a new one. MR404: not your session.';

grant execute on function makeready.debug_file_publish(uuid, uuid, text, text, text, bigint, bytea, text) to makeready_http;
