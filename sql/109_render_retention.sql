-- Render, retention: what is kept of what was made, and what is used again.
--
-- Of each document of a pack the newest files stay, as many as `render_policy.keep_files`; so the last good one always
-- does. Sources of HTML stay for `keep_sources`. A file that goes keeps its id: whoever asks for it hears that it is gone.
-- Packs that have more than one file of a document are noted in `render_surplus` when that comes about.

create or replace function makeready.render_policy_set(files_kept integer default null, sources_kept interval default null, because text default null)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_old makeready.render_policy;
  v_new makeready.render_policy;
begin
  select * into v_old from makeready.render_policy p for no key update;
  update makeready.render_policy p
     set keep_files = coalesce(files_kept, p.keep_files), keep_sources = coalesce(sources_kept, p.keep_sources)
  returning * into v_new;
  insert into makeready.render_surplus (pack_id)
  select d.pack_id from makeready.pack_documents d
   where d.state = 'ready' and v_new.keep_files < v_old.keep_files
   group by d.pack_id, d.doc_id having count(*) > v_new.keep_files
  on conflict do nothing;
  perform makeready.audit('render_policy_set', 'render', to_jsonb(v_old) - 'only_row', to_jsonb(v_new) - 'only_row', because);
exception when check_violation then
  raise exception 'retention cannot be % files and %', files_kept, sources_kept
    using errcode = 'MR422', detail = json_build_object('files_kept', files_kept, 'sources_kept', sources_kept),
          hint = 'At least one file, at most 1000; sources for an hour at least.';
end
$$;
comment on function makeready.render_policy_set(integer, interval, text) is
  'Changes how many files of each document of a pack are kept, and for how long sources of HTML; what is left out stays. Takes effect within minutes.';

create or replace function makeready.render_retention(max_rows integer)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_now   timestamptz := makeready.now();
  v_keep  integer := (select p.keep_files from makeready.render_policy p);
  v_count integer := 0;
  v_pack  uuid;
  v_own   uuid;
begin
  for v_pack in
    delete from makeready.render_surplus s
     where s.pack_id in (select x.pack_id from makeready.render_surplus x limit max_rows for update skip locked)
    returning s.pack_id
  loop
    v_count := v_count + 1;
    perform makeready.render_file_release(f.id)
       from (select d.file_id as id, row_number() over (partition by d.doc_id order by d.seq desc) as place
               from makeready.pack_documents d where d.pack_id = v_pack and d.state = 'ready'
             union all
             select o.id, b.place
               from (select x.pdf_file_id, x.zip_file_id, row_number() over (order by x.seq desc) as place
                       from makeready.render_bundles x where x.pack_id = v_pack and x.state = 'ready') b
              cross join unnest(array[b.pdf_file_id, b.zip_file_id]) o (id)) f
      where f.place > v_keep;
  end loop;
  for v_own in
    select o.id from makeready.render_contents o
     where o.sources_id is not null and o.sources_until <= v_now
       and not exists (select from makeready.pack_documents d where d.content_id = o.id and d.state = 'queued')
     order by o.sources_until limit max_rows for no key update skip locked
  loop
    update makeready.render_contents o set sources_id = null where o.id = v_own;
    perform makeready.file_release(v_own);
    v_count := v_count + 1;
  end loop;
  return v_count;
end
$$;
comment on function makeready.render_retention(integer) is 'Releases files of documents that have newer ones, and sources whose time is over.';
select makeready.chore_create('render_retention', '60 seconds');

create or replace function makeready.render_file_release(file uuid)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  update makeready.artifact_files a set released_at = makeready.now(), stored_id = null, thumbnail_id = null
   where a.id = file and a.released_at is null;
  if found then
    perform makeready.file_release(file);
  end if;
end
$$;
comment on function makeready.render_file_release(uuid) is 'Lets go of the stored objects of a file; its row stays and says so. Internal.';

create or replace function makeready.render_reuse(job uuid, print_hash text)
  returns table (stored jsonb, picture jsonb, facts jsonb)
  language sql
  stable
  security definer
  set search_path = ''
as $$
  -- Only what the same person had printed: how fast an answer comes must not tell whether somebody else has such a document.
  select makeready.file_facts(f), makeready.file_facts(n), a.meta
    from makeready.pack_documents r
    join makeready.packs p on p.id = r.pack_id
    join makeready.sessions own on own.id = p.session_id
    join makeready.artifacts a on a.meta ->> 'fingerprint' = print_hash
    join makeready.sessions s on s.id = a.session_id and s.user_id is not distinct from own.user_id
    join makeready.artifact_files x on x.artifact_id = a.id
    join makeready.files f on f.id = x.stored_id and f.purging_at is null
    left join makeready.files n on n.id = x.thumbnail_id and n.purging_at is null
   where r.job_id = render_reuse.job and not r.is_forced
   order by a.created_at desc, a.id desc
   limit 1
$$;
comment on function makeready.render_reuse(uuid, text) is
  'A stored file of the same user that was printed of equal content, and its thumbnail; no row: there is none, or the render is forced.';

grant execute on function makeready.render_policy_set(integer, interval, text) to makeready_ops;
grant execute on function makeready.render_reuse(uuid, text) to makeready_worker;
