-- Files of photos: which of them are due to be deleted, and which nobody knows.
--
-- Deleted they are by a process that reaches the media store: it asks what is due, deletes the files, and says that they
-- are gone. Cut off in between, it is told the same again. No marks are needed, for a path is never used twice: what is
-- expired stays expired, and two who delete the same file do no harm.
--
-- A payload outlives every request that may still be answered, whatever the clock says: it goes once the answer is out, or
-- once the processes that waited are gone. An hour after the deadline nobody waits any more.

insert into makeready.throttle_rules (rule, tries, span) values ('public_media', 600, '1 minute')      -- from one address
on conflict do nothing;

-- Unlike the scan of documents these are on from the start: they delete what rows of this database say, and nothing else.
insert into makeready.chores (chore, every, due_at, in_process) values
  ('photochanger-media-cleanup', '15 minutes', makeready.now(), true),
  ('media_temporary', '30 seconds', makeready.now(), true),
  ('media_scan', '24 hours', makeready.now(), true)
on conflict do nothing;

create table if not exists makeready.media_turns (
  chore  text        not null constraint media_turns_fk_chores references makeready.chores,
  store  text        not null,
  due_at timestamptz not null,
  constraint media_turns_pk primary key (chore, store)
);
comment on table makeready.media_turns is 'When each media store is cleaned next: of those who reach it one does it, and nobody does it for those who do not.';
comment on column makeready.media_turns.store is 'The media store.';
comment on column makeready.media_turns.chore is 'What is done there; how often, and whether at all, says its chore.';
comment on column makeready.media_turns.due_at is 'When next.';

create or replace function makeready.media_take(chore_name text, store_name text)
  returns boolean
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_now   timestamptz := makeready.now();
  v_every interval := (select c.every from makeready.chores c where c.chore = chore_name and c.in_process and c.is_enabled);
begin
  if v_every is null then
    return false;
  end if;
  if not exists (select from makeready.media_turns t where t.store = store_name and t.chore = chore_name) then
    insert into makeready.media_turns (store, chore, due_at) values (store_name, chore_name, v_now) on conflict do nothing;
  end if;
  -- One process gets it; if that one dies on the way, it comes round again in its time.
  update makeready.media_turns t set due_at = v_now + v_every
   where (t.store, t.chore) in (select x.store, x.chore from makeready.media_turns x
                                 where x.store = store_name and x.chore = chore_name
                                   and (x.due_at <= v_now or x.due_at > v_now + greatest(v_every, '10 minutes'))      -- the clock was ahead
                                   for update skip locked);
  if not found then
    return false;
  end if;
  update makeready.chores c set ran_at = v_now, due_at = v_now + v_every where c.chore = chore_name;
  return true;
end
$$;
comment on function makeready.media_take(text, text) is 'True for the one process that is to clean this media store now. As chore_take, for each store.';

create or replace function makeready.media_due(what text, store_name text, max_rows integer, but_not uuid[] default '{}')
  returns table (due_id uuid, file_paths text[])
  language plpgsql
  volatile
  security definer
  set search_path = ''
  set jit = off
as $$
declare
  v_now timestamptz := makeready.now();
begin
  case what
    when 'results' then
      return query
        select p.id, array_remove(array[p.result_path, p.before_picture ->> 'path', p.after_picture ->> 'path'], null)
          from makeready.photos p
         where p.result_path is not null and p.result_expires_at <= v_now and p.result_store = store_name and p.id <> all (but_not)
         order by p.result_expires_at limit max_rows;
    when 'temporary' then
      return query
        select m.id, array[m.path]
          from makeready.media_objects m
         where m.kind = 'temporary' and m.deleted_at is null and m.expires_at <= v_now and m.store = store_name and m.id <> all (but_not)
         order by m.expires_at limit max_rows;
    when 'payloads' then
      return query
        select m.id, array[m.path]
          from makeready.media_objects m
          left join makeready.photos p on p.id = m.job_id
         where m.kind in ('payload', 'prepared', 'template') and m.expires_at <= v_now and m.store = store_name and m.id <> all (but_not)
           and (p.id is null or p.answered_at is not null or p.expires_at < v_now - interval '1 hour'
                or p.finished_at is not null and not makeready.ingest_is_awaited(p.waiters, v_now))
         order by m.expires_at limit max_rows;
    else
      perform makeready.refuse_media_scope(what);
  end case;
end
$$;
comment on function makeready.media_due(text, text, integer, uuid[]) is
  'Files of one media store that are to be deleted: of results, of temporary media, or payloads that were not removed after their answer, with prepared images and with images that are no slot''s any more. but_not: those that could not be deleted just now.';

create or replace function makeready.media_gone(what text, due_ids uuid[])
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_now   timestamptz := makeready.now();
  v_count integer := 0;
begin
  perform set_config('synchronous_commit', 'off', true);      -- what a crash takes back is due again
  case what
    when 'results' then
      update makeready.photos p set result_store = null, result_path = null, before_picture = null, after_picture = null
       where p.id = any (due_ids) and p.result_expires_at <= v_now and p.result_path is not null;
    when 'temporary' then
      update makeready.media_objects m set deleted_at = v_now
       where m.id = any (due_ids) and m.kind = 'temporary' and m.expires_at <= v_now and m.deleted_at is null;
    when 'payloads' then
      delete from makeready.media_objects m where m.id = any (due_ids) and m.kind in ('payload', 'prepared', 'template') and m.expires_at <= v_now;
    else
      perform makeready.refuse_media_scope(what);
  end case;
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
comment on function makeready.media_gone(text, uuid[]) is
  'The files of these, which media_due has named, are deleted: results lose their place and keep all else, rows of payloads go.';

create or replace function makeready.refuse_media_scope(what text)
  returns void language plpgsql volatile security definer set search_path = ''
as $$
begin
  raise exception 'nothing is called % here', coalesce(quote_literal(what), 'null')
    using errcode = 'MR422', detail = json_build_object('scope', what), hint = 'One of results, temporary, payloads; for a purge full or media_objects.';
end
$$;
comment on function makeready.refuse_media_scope(text) is 'Raises MR422 for files of an unknown kind.';

create or replace function makeready.media_unknown(store_name text, file_paths text[])
  returns setof text
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select f.path_text
    from unnest(file_paths) f (path_text)
   cross join lateral (select substring(f.path_text from '^results/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.')::uuid as photo) n
   where not exists (select from makeready.media_objects m where m.store = store_name and m.path = f.path_text and m.deleted_at is null)
     and not exists (select from makeready.slot_templates t where t.store = store_name and t.path = f.path_text)
     and not exists (select from makeready.photos p
                      where p.id = n.photo
                        and (p.result_store = store_name and p.result_path = f.path_text
                             or p.before_picture ->> 'path' = f.path_text or p.after_picture ->> 'path' = f.path_text))
$$;
comment on function makeready.media_unknown(text, text[]) is 'Those of the files of a media store that no row knows. List the store before you ask.';

create or replace function makeready.media_is_ours()
  returns boolean language sql stable security definer set search_path = ''
as $$ select coalesce((select c.is_enabled from makeready.chores c where c.chore = 'files_scan'), false) $$;
comment on function makeready.media_is_ours() is
  'Whether an operator has confirmed that this database alone keeps files in its stores, and is not older than they are: the chore files_scan is on.';

create or replace function makeready.media_purge(what text default 'full')
  returns table (purge_id uuid, cutoff timestamptz)
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
begin
  if what is null or what not in ('full', 'media_objects') then
    perform makeready.refuse_media_scope(what);
  end if;
  purge_id := gen_random_uuid();
  cutoff := makeready.now();
  update makeready.media_turns t set due_at = cutoff where t.chore = 'media_temporary' or what = 'full';
  perform makeready.audit('media_purge', what, null, jsonb_build_object('purge_id', purge_id, 'cutoff', cutoff), null);
  return next;
end
$$;
comment on function makeready.media_purge(text) is
  'Has the cleaner come at once: for temporary media and payloads (media_objects), or for expired results and unknown files too (full). What has not expired stays.';

create or replace function makeready.media_links_purge(max_rows integer)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_since timestamptz := makeready.now() - interval '7 days';
  v_count integer;
begin
  delete from makeready.media_objects m
   where m.id in (select o.id from makeready.media_objects o where o.deleted_at < v_since order by o.deleted_at limit max_rows);
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
comment on function makeready.media_links_purge(integer) is 'Forgets temporary media whose files went a week ago: their links are unknown then, not expired.';
select makeready.chore_create('media_links_purge', '1 hour');

grant execute on function
  makeready.media_take(text, text), makeready.media_due(text, text, integer, uuid[]), makeready.media_gone(text, uuid[]), makeready.media_unknown(text, text[]),
  makeready.media_is_ours()
to makeready_http, makeready_worker, makeready_ops;
grant execute on function makeready.media_purge(text) to makeready_http, makeready_ops;
