-- Render, asking: packs are made, and documents of packs are asked for. See 100_render for the locks.

create or replace function makeready.render_refuse_pack(pack uuid)
  returns void language plpgsql volatile security definer set search_path = ''
as $$
begin
  raise exception 'there is no pack % of yours', coalesce(pack::text, 'null')
    using errcode = 'MR404', detail = json_build_object('code', 'pack_not_found', 'pack_id', pack),
          hint = 'A pack that belongs to somebody else looks the same as one that does not exist.';
end
$$;
comment on function makeready.render_refuse_pack(uuid) is 'Raises MR404 for a pack that is unknown or not the caller''s.';

-- Locks the pack: of two calls for one pack the second waits here and then finds the first one's renders open.
create or replace function makeready.render_lock_pack(person uuid, pack uuid)
  returns makeready.packs
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_pack makeready.packs;
begin
  select p.* into v_pack from makeready.packs p join makeready.sessions s on s.id = p.session_id
   where p.id = pack and s.user_id is not distinct from person for no key update of p;
  if not found then
    perform makeready.render_refuse_pack(pack);
  end if;
  perform makeready.person_may_order(person);
  return v_pack;
end
$$;
comment on function makeready.render_lock_pack(uuid, uuid) is 'The pack, locked, if it is this user''s; else MR404. MR403 before they have accepted the offer.';

create or replace function makeready.render_parts(of_pack uuid)
  returns table (doc_id text, place integer, content_id uuid)
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select d.doc_id, (row_number() over (order by d.place, d.seq))::integer, d.content_id
    from (select c.doc_id, c.place, null::bigint as seq,
                 (select o.id from makeready.render_contents o where o.pack_id = of_pack and o.doc_id = c.doc_id order by o.seq desc limit 1)
            from makeready.pack_contents c where c.pack_id = of_pack
          union all
          (select distinct on (o.doc_id) o.doc_id, null::integer, min(o.seq) over (partition by o.doc_id), o.id
            from makeready.render_contents o
           where o.pack_id = of_pack
             and not exists (select from makeready.pack_contents c where c.pack_id = of_pack and c.doc_id = o.doc_id)
           order by o.doc_id, o.seq desc)) d (doc_id, place, seq, content_id)
$$;
comment on function makeready.render_parts(uuid) is
  'The documents of a pack in their order: those it was given data for, then those that came with content of their own; with the newest content of each, null where that is the data of the pack. Internal.';

-- The one place that adds renders: rows, jobs and the pack's count, all or nothing. The caller holds the pack's lock.
drop function if exists makeready.render_add(makeready.packs, text[], uuid, uuid[], integer, timestamptz, boolean);
create or replace function makeready.render_add(of_pack makeready.packs, doc_list text[], call uuid, new_jobs uuid[],
    rank integer default 0, due timestamptz default null, wake boolean default false, forced boolean default false)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_bodies jsonb[];
begin
  select array_agg(jsonb_build_object('pack_id', of_pack.id, 'doc_id', d.doc_id, 'language', of_pack.lang) order by d.place)
    into v_bodies from unnest(doc_list) with ordinality d (doc_id, place);
  insert into makeready.pack_documents (pack_id, doc_id, job_id, call_id, state, layout, type_version, content_id, is_forced, created_at)
  select of_pack.id, d.doc_id, d.job_id, call, 'queued', t.id, coalesce(c.type_version, t.version), c.id, forced, makeready.now()
    from unnest(doc_list, new_jobs) with ordinality d (doc_id, job_id, place)
    left join lateral (select o.* from makeready.render_contents o where o.pack_id = of_pack.id and o.doc_id = d.doc_id
                        order by o.seq desc limit 1) c on true
    join makeready.document_types t on t.id = coalesce(c.layout, d.doc_id)
   order by d.place;
  update makeready.packs p set open_count = p.open_count + cardinality(doc_list) where p.id = of_pack.id;
  perform makeready.enqueue_many('render', v_bodies, new_jobs, rank => rank, due => due,
                                 owner_key => coalesce(of_pack.user_id::text, ''), batch_key => of_pack.id, wake => wake);
end
$$;
comment on function makeready.render_add(makeready.packs, text[], uuid, uuid[], integer, timestamptz, boolean, boolean) is
  'Opens a render for each named document of a locked pack and enqueues its job, in this transaction. Internal.';

create or replace function makeready.render_refuse_size(bytes bigint)
  returns void language plpgsql volatile security definer set search_path = ''
as $$
begin
  raise exception 'the data of a document has % bytes', bytes
    using errcode = 'MR422', detail = json_build_object('code', 'payload_too_large', 'max_bytes', 16777216, 'received_bytes', bytes),
          hint = 'Numbers take up to eight times as many bytes as in the text.';
end
$$;
comment on function makeready.render_refuse_size(bigint) is 'Raises MR422 for data of a document that is too large.';

create or replace function makeready.render_pack_open(person uuid, language text, in_session uuid, pack uuid, bundled boolean)
  returns makeready.packs
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_pack    makeready.packs;
  v_session uuid := in_session;
begin
  perform makeready.person_stays(person);
  perform makeready.person_may_order(person);
  if language is null or language not in ('ru', 'en') then
    raise exception 'a pack needs a language, ru or en'
      using errcode = 'MR422', detail = json_build_object('language', language), hint = 'All its documents are printed in it.';
  end if;
  if v_session is null then
    v_session := makeready.session_create(person);
  elsif not exists (select from makeready.sessions s where s.id = v_session and s.user_id is not distinct from person) then
    raise exception 'there is no session % of yours', v_session
      using errcode = 'MR404', detail = json_build_object('code', 'session_not_found', 'session_id', v_session),
            hint = 'Leave the session out and one is made.';
  end if;
  insert into makeready.packs (id, session_id, user_id, lang, is_bundled, created_at)
  values (pack, v_session, person, language, bundled, makeready.now())
  returning * into v_pack;
  return v_pack;
end
$$;
comment on function makeready.render_pack_open(uuid, text, uuid, uuid, boolean) is
  'Writes a pack without documents, in a session of its user or a new one. MR404 when the session is unknown. Internal.';

drop function if exists makeready.render_pack_add(uuid, jsonb, text, uuid, uuid);
create or replace function makeready.render_pack_add(person uuid, content_by_document jsonb, language text, in_session uuid, pack uuid,
    bundled boolean)
  returns makeready.packs
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_pack makeready.packs;
  v_odd  text;
  v_size integer;
begin
  if language is null or language not in ('ru', 'en') or jsonb_typeof(content_by_document) is distinct from 'object'
     or content_by_document = '{}' or exists (select from jsonb_each(content_by_document) c where jsonb_typeof(c.value) <> 'object') then
    raise exception 'a pack needs a language, ru or en, and for each of its documents the data: an object'
      using errcode = 'MR422', detail = json_build_object('language', language),
            hint = 'For example {"invoice": {…}}: one object a document.';
  end if;
  select c.key into v_odd from jsonb_each(content_by_document) c
   where not exists (select from makeready.document_types t where t.id = c.key) order by c.key limit 1;
  if found then
    perform makeready.render_type(v_odd);          -- raises
  end if;
  if content_by_document ? 'html' then
    raise exception 'HTML is no data of a pack'
      using errcode = 'MR422', detail = json_build_object('doc_id', 'html'), hint = 'Send it with its assets: POST /render/html.';
  end if;
  select max(pg_column_size(c.value)) into v_size from jsonb_each(content_by_document) c;
  perform makeready.render_refuse_size(v_size) where v_size > 16777216;
  v_pack := makeready.render_pack_open(person, language, in_session, pack, bundled);
  insert into makeready.pack_contents (pack_id, doc_id, place, content)
  select pack, c.key, row_number() over (order by c.key), c.value from jsonb_each(content_by_document) c;
  return v_pack;
end
$$;
comment on function makeready.render_pack_add(uuid, jsonb, text, uuid, uuid, boolean) is
  'Writes a pack, in a session of its user or a new one. MR404 when a document or the session is unknown, MR422 when the data is no object or too large. Internal.';

drop function if exists makeready.render_pack_create(uuid, jsonb, text, uuid, text);
create or replace function makeready.render_pack_create(person uuid, content_by_document jsonb, language text default 'ru',
    in_session uuid default null, request_key text default null, bundled boolean default true)
  returns table (verdict text, pack uuid)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_new     uuid := makeready.uuid7();
  v_verdict text := 'created';
begin
  if request_key is not null then
    select t.verdict, t.target_id into v_verdict, v_new
      from makeready.request_take('user:' || person, 'render_pack_create', request_key,
             sha256(convert_to(concat_ws(' ', language, in_session, content_by_document), 'UTF8')), 'render', v_new) t;
  end if;
  if v_verdict = 'created' then
    perform makeready.render_pack_add(person, content_by_document, language, in_session, v_new, bundled);
  end if;
  return query select v_verdict, v_new;
end
$$;
comment on function makeready.render_pack_create(uuid, jsonb, text, uuid, text, boolean) is
  'Makes a pack of a user out of {doc_id: data}; bundled: once no render of it is open, its documents are also made into one PDF and one ZIP. The same request key again returns the same pack (verdict replayed, or joined while a render of it is open).';

create or replace function makeready.render_pack(person uuid, pack uuid, request_key text default null)
  returns table (verdict text, jobs_created integer, jobs_skipped integer, job_ids uuid[])
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_call    uuid := makeready.uuid7();
  v_verdict text := 'created';
  v_pack    makeready.packs;
  v_able    text[];
  v_due     text[];
begin
  if request_key is not null then
    select t.verdict, t.target_id into v_verdict, v_call
      from makeready.request_take('user:' || person, 'render_pack', request_key, sha256(uuid_send(pack)), 'render', v_call) t;
  end if;
  v_pack := makeready.render_lock_pack(person, pack);
  if v_verdict = 'created' and not exists (select from makeready.document_types t where makeready.render_is_enabled(t)) then
    raise exception 'no document is enabled'
      using errcode = 'MR409', detail = json_build_object('reason', 'no_documents', 'pack_id', pack),
            hint = 'The registry is empty: start a worker of this version, or enable a document.';
  end if;
  select array_agg(t.id order by c.place) into v_able
    from makeready.render_parts(pack) c
    join makeready.document_types t on t.id = c.doc_id
    left join makeready.render_contents o on o.id = c.content_id
   where makeready.render_is_enabled(t) and not makeready.render_is_spent(o);
  if v_verdict = 'created' then
    -- Left out: the documents whose latest render is open or has succeeded.
    select array_agg(d.doc_id order by d.place) into v_due
      from unnest(v_able) with ordinality d (doc_id, place)
     where coalesce((select r.state from makeready.pack_documents r
                      where r.pack_id = pack and r.doc_id = d.doc_id order by r.seq desc limit 1), 'none') in ('none', 'failed');
    if v_due is not null then
      perform makeready.render_add(v_pack, v_due, v_call,
                                   (select array_agg(makeready.uuid7()) from generate_series(1, cardinality(v_due))));
    end if;
  end if;
  return query
    select v_verdict, count(*)::integer, greatest(coalesce(cardinality(v_able), 0) - count(*), 0)::integer,
           coalesce(array_agg(r.job_id order by r.seq), '{}')
      from makeready.pack_documents r where r.pack_id = pack and r.call_id = v_call;
end
$$;
comment on function makeready.render_pack(uuid, uuid, text) is
  'Renders each enabled document of a pack whose latest render is not open and has not succeeded; so a second call makes nothing new. The same request key again answers as the first time (verdict replayed). MR404: not yours.';

create or replace function makeready.render_refuse_open(pack uuid, document text)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_active uuid;
begin
  select r.job_id into v_active from makeready.pack_documents r
   where r.pack_id = pack and r.doc_id = document and r.state = 'queued';
  if found then
    raise exception 'document % of pack % is being rendered already', document, pack
      using errcode = 'MR409', detail = json_build_object('code', 'already_in_progress', 'job_id', v_active, 'pack_id', pack, 'doc_id', document),
            hint = 'Wait for that job.';
  end if;
end
$$;
comment on function makeready.render_refuse_open(uuid, text) is 'Raises MR409 for a document of a locked pack that is being rendered.';

create or replace function makeready.render_is_spent(own makeready.render_contents)
  returns boolean language sql immutable security definer set search_path = ''
as $$ select own.sources_until is not null and own.sources_id is null $$;
comment on function makeready.render_is_spent(makeready.render_contents) is
  'Whether content cannot be printed any more: retention has taken its sources.';

create or replace function makeready.render_refuse_spent(own makeready.render_contents)
  returns void language plpgsql volatile security definer set search_path = ''
as $$
begin
  raise exception 'the sources of document % of pack % are not kept any more', own.doc_id, own.pack_id
    using errcode = 'MR410', detail = json_build_object('code', 'result_expired', 'doc_id', own.doc_id, 'pack_id', own.pack_id,
                                                        'sources_until', own.sources_until),
          hint = 'Send them again.';
end
$$;
comment on function makeready.render_refuse_spent(makeready.render_contents) is 'Raises MR410 for content whose sources are gone.';

create or replace function makeready.render_document(person uuid, pack uuid, document text, request_key text default null)
  returns table (verdict text, job_id uuid)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_job     uuid := makeready.uuid7();
  v_verdict text := 'created';
  v_pack    makeready.packs;
  v_content uuid;
begin
  if request_key is not null then
    select t.verdict, t.target_id into v_verdict, v_job
      from makeready.request_take('user:' || person, 'render_document', request_key,
             sha256(uuid_send(pack) || convert_to(document, 'UTF8')), 'render', v_job) t;
  end if;
  if v_verdict <> 'created' then
    return query select v_verdict, v_job;
    return;
  end if;
  v_pack := makeready.render_lock_pack(person, pack);
  perform makeready.render_type(document);
  select c.content_id into v_content from makeready.render_parts(pack) c where c.doc_id = document;
  if not found then
    raise exception 'pack % has no document %', pack, document
      using errcode = 'MR404', detail = json_build_object('code', 'document_not_found', 'doc_id', document, 'pack_id', pack),
            hint = 'A pack holds the documents it was given data for; make another one.';
  end if;
  perform makeready.render_refuse_open(pack, document);
  perform makeready.render_refuse_spent(o) from makeready.render_contents o where o.id = v_content and makeready.render_is_spent(o);
  perform makeready.render_add(v_pack, array[document], v_job, array[v_job], forced => true);
  return query select v_verdict, v_job;
end
$$;
comment on function makeready.render_document(uuid, uuid, text, text) is
  'Renders one document of a pack anew: always a new job and a new file. MR409 with the id of the active job while one is open; the same request key again returns the same job.';

create or replace function makeready.render_enqueue(document text, data jsonb, language text default 'ru', for_user uuid default null,
    request_key text default null, rank integer default 0, due timestamptz default null, wake boolean default false)
  returns uuid
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_job     uuid := makeready.uuid7();
  v_verdict text := 'created';
begin
  if request_key is not null then
    select t.verdict, t.target_id into v_verdict, v_job
      from makeready.request_take(coalesce('user:' || for_user, 'database:' || session_user), 'render_enqueue', request_key,
             sha256(convert_to(concat_ws(' ', document, language, data), 'UTF8')), 'render', v_job) t;
  end if;
  if v_verdict = 'created' then
    perform makeready.render_type(document);
    perform makeready.render_add(
      makeready.render_pack_add(for_user, jsonb_build_object(document, coalesce(data, 'null')), language, null, makeready.uuid7(), false),
      array[document], v_job, array[v_job], rank, due, wake);
  end if;
  return v_job;
end
$$;
comment on function makeready.render_enqueue(text, jsonb, text, uuid, text, integer, timestamptz, boolean) is
  'Prints one document: makes a pack of it and enqueues the job, in the caller''s own transaction, with which it commits or vanishes. Returns the job''s id; the same request key again returns the same. wake starts an idle worker at once, at the price of a notification in this transaction.';

grant execute on function makeready.render_pack_create(uuid, jsonb, text, uuid, text, boolean) to makeready_http;
grant execute on function makeready.render_pack(uuid, uuid, text) to makeready_http;
grant execute on function makeready.render_document(uuid, uuid, text, text) to makeready_http;
grant execute on function makeready.render_enqueue(text, jsonb, text, uuid, text, integer, timestamptz, boolean) to makeready_app, makeready_http, makeready_ops;
