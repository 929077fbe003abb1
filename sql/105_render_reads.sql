-- Render, reading: what a pack, a user and a job look like from outside. Nothing here writes.
--
-- Every function asks whose the thing is, by `sessions.user_id`, and treats what belongs to others as not there.
-- Lists are paged by key: pass the id of the last row of a page to get the next one.

create or replace function makeready.render_state(stored_state text, job_state text)
  returns text language sql immutable security definer set search_path = ''
as $$
  select case when stored_state is null then 'none'
              when stored_state = 'queued' and job_state = 'running' then 'rendering'
              else stored_state end
$$;
comment on function makeready.render_state(text, text) is
  'The public state of a document: none, queued, rendering, ready or failed, from its latest render and that one''s job.';

create or replace function makeready.render_error_text(problem jsonb)
  returns text language sql immutable security definer set search_path = ''
as $$ select concat_ws(': ', problem ->> 'code', problem ->> 'message') where problem is not null and problem <> '{}' $$;
comment on function makeready.render_error_text(jsonb) is 'An error in one line: code and message.';

create or replace function makeready.render_documents(person uuid, pack uuid)
  returns table (doc_id text, title text, public_state text, job_id uuid, file_id uuid, last_good_file_id uuid,
                 attempts_made integer, error_text text, access_tier text, may_render boolean)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  if not exists (select from makeready.packs p join makeready.sessions s on s.id = p.session_id
                  where p.id = pack and s.user_id is not distinct from person) then
    perform makeready.render_refuse_pack(pack);
  end if;
  return query
    select t.id, coalesce(n.title, makeready.document_title(t, p.lang)),
           makeready.render_state(r.state, j.state), r.job_id, r.file_id,
           coalesce(r.file_id, (select g.file_id from makeready.pack_documents g
                                 where g.pack_id = p.id and g.doc_id = t.id and g.state = 'ready' order by g.seq desc limit 1)),
           case r.state when 'queued' then coalesce(j.attempt, 0) else coalesce(r.attempts_used, 0) end,
           makeready.render_error_text(case r.state when 'queued' then j.error else r.last_error end),
           coalesce(t.tier_by_staff, t.tier), makeready.render_is_enabled(t)
      from makeready.packs p
     cross join makeready.render_parts(p.id) c
      join makeready.document_types t on t.id = c.doc_id
      left join makeready.render_contents n on n.id = c.content_id
      left join lateral (select * from makeready.pack_documents o
                          where o.pack_id = p.id and o.doc_id = t.id order by o.seq desc limit 1) r on true
      left join makeready.jobs j on j.queue = 'render' and j.id = r.job_id and r.state = 'queued'
     where p.id = pack
     order by c.place;
end
$$;
comment on function makeready.render_documents(uuid, uuid) is
  'The documents of a pack as its owner sees them: the state of each one''s latest render, its file when ready, and the last good file whatever came after. MR404: not yours.';

drop function if exists makeready.render_job(uuid, uuid);
create or replace function makeready.render_job(person uuid, job uuid)
  returns table (job_id uuid, pack_id uuid, doc_id text, public_state text, file_id uuid, attempts_made integer,
                 attempts_allowed integer, error_text text, warnings text[])
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select r.job_id, r.pack_id, r.doc_id, makeready.render_state(r.state, j.state), r.file_id,
         case r.state when 'queued' then coalesce(j.attempt, 0) else r.attempts_used end,
         coalesce(j.max_attempts, q.max_attempts),
         makeready.render_error_text(case r.state when 'queued' then j.error else r.last_error end),
         array(select jsonb_array_elements_text(coalesce(a.meta -> 'warnings', '[]')))
    from makeready.pack_documents r
    join makeready.packs p on p.id = r.pack_id
    join makeready.sessions s on s.id = p.session_id
    join makeready.queues q on q.queue = 'render'
    left join makeready.jobs j on j.queue = 'render' and j.id = r.job_id
    left join makeready.artifacts a on a.meta ->> 'render_job_id' = r.job_id::text
   where r.job_id = render_job.job and s.user_id is not distinct from render_job.person
$$;
comment on function makeready.render_job(uuid, uuid) is 'One render of a user, or of nobody, by its job, and what the PDF lacks; no row when it is unknown or somebody else''s.';

create or replace function makeready.render_pack_facts(person uuid, pack uuid)
  returns table (pack_id uuid, session_id uuid, made_at timestamptz, language_code text, documents_open integer,
                 bundle_state text, pack_file_id uuid, zip_file_id uuid, bundle_error text)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  return query
    select p.id, p.session_id, p.created_at, p.lang, p.open_count,
           case when p.is_bundled and p.open_count > 0 then 'queued' when b.is_current then b.state else 'none' end,
           case when b.is_current then b.pdf_file_id end, case when b.is_current then b.zip_file_id end,
           case when b.is_current then makeready.render_error_text(b.last_error) end
      from makeready.packs p
      join makeready.sessions s on s.id = p.session_id
      left join lateral (select o.*, makeready.render_bundle_is_current(o) as is_current
                           from makeready.render_bundles o where o.pack_id = p.id order by o.seq desc limit 1) b on true
     where p.id = pack and s.user_id = person;
  if not found then
    perform makeready.render_refuse_pack(pack);
  end if;
end
$$;
comment on function makeready.render_pack_facts(uuid, uuid) is
  'A pack as its owner sees it. bundle_state: none, queued, ready or failed; its two files only while they are made of what the pack has now. MR404: not yours.';

drop function if exists makeready.render_file(uuid, uuid);
create or replace function makeready.render_file(person uuid, file uuid)
  returns table (bucket_name text, object_name text, download_name text, media_type text, byte_count bigint, hash_sha256 bytea,
                 thumb_bucket text, thumb_object text, gone_since timestamptz)
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select f.bucket, f.object_key, a.filename, f.content_type, f.size_bytes, f.sha256, n.bucket, n.object_key, a.released_at
    from makeready.artifact_files a
    join makeready.artifacts t on t.id = a.artifact_id
    join makeready.sessions s on s.id = t.session_id
    left join makeready.files f on f.id = a.stored_id
    left join makeready.files n on n.id = a.thumbnail_id
   where a.id = render_file.file and s.user_id = render_file.person
$$;
comment on function makeready.render_file(uuid, uuid) is
  'Where a user''s file and its thumbnail lie, or since when retention has let it go; no row when it is unknown or somebody else''s.';

create or replace function makeready.render_files(person uuid, max_rows integer default 50, older_than uuid default null)
  returns table (file_id uuid, artifact_id uuid, sort text, made_at timestamptz, media_type text, byte_count bigint, doc_id text,
                 public_state text, pack_id uuid)
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select a.id, t.id, t.kind, a.created_at, f.content_type, f.size_bytes, t.meta ->> 'doc_id', 'ready', (t.meta ->> 'pack_id')::uuid
    from makeready.sessions s
    join makeready.artifacts t on t.session_id = s.id
    join makeready.artifact_files a on a.artifact_id = t.id
    join makeready.files f on f.id = a.stored_id
   where s.user_id = render_files.person
     and (render_files.older_than is null or (a.created_at, a.id) < (
           select o.created_at, o.id from makeready.artifact_files o where o.id = render_files.older_than))
   order by a.created_at desc, a.id desc
   limit render_files.max_rows
$$;
comment on function makeready.render_files(uuid, integer, uuid) is
  'A user''s files, newest first; older_than is the last file_id of the page before.';

create or replace function makeready.render_packs(person uuid, max_rows integer default 50, older_than uuid default null)
  returns table (pack_id uuid, session_id uuid, made_at timestamptz, language_code text, documents_open integer)
  language sql
  volatile
  security definer
  set search_path = ''
as $$
  select p.id, p.session_id, p.created_at, p.lang, p.open_count
    from makeready.packs p
    join makeready.sessions s on s.id = p.session_id
   where p.user_id = render_packs.person and s.user_id = render_packs.person
     and (render_packs.older_than is null or (p.created_at, p.id) < (
           select o.created_at, o.id from makeready.packs o where o.id = render_packs.older_than))
   order by p.created_at desc, p.id desc
   limit render_packs.max_rows
$$;
comment on function makeready.render_packs(uuid, integer, uuid) is
  'A user''s packs, newest first; older_than is the last pack_id of the page before.';

grant execute on function makeready.render_documents(uuid, uuid) to makeready_http;
grant execute on function makeready.render_job(uuid, uuid) to makeready_http;
grant execute on function makeready.render_pack_facts(uuid, uuid) to makeready_http;
grant execute on function makeready.render_file(uuid, uuid) to makeready_http;
grant execute on function makeready.render_files(uuid, integer, uuid) to makeready_http;
grant execute on function makeready.render_packs(uuid, integer, uuid) to makeready_http;
