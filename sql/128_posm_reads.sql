-- POSM, reading: history, one generation, its cards, what archives are made of, and whether the tables have changed since.
--
-- Staff sees all of it; nothing here writes. A state is the generation's own and its job's only while that runs, so
-- pruned jobs change nothing. Lists are paged by key.

create or replace function makeready.posm_generation_list(of_restaurant uuid default null, of_template uuid default null, in_state text default null,
    by_author text default null, made_from timestamptz default null, made_before timestamptz default null, of_table uuid default null,
    max_rows integer default 50, older_than uuid default null, only_this uuid default null)
  returns table (generation uuid, generation_version integer, public_state text, restaurant uuid, restaurant_title text, template uuid,
                 template_title text, author_name text, which_tables text, fields jsonb, cards_total integer, cards_done integer,
                 failure_code text, remark text, attempts_made integer, attempts_allowed integer, stamped_by text, outcome jsonb,
                 made_at timestamptz, admitted_at timestamptz, began_at timestamptz, over_at timestamptz, gone_since timestamptz)
  language plpgsql
  stable
  security definer
  set search_path = ''
  set jit = off
  set plan_cache_mode = force_custom_plan      -- planned for the filters that are given
as $$
begin
  return query
  select g.id, g.version, makeready.posm_state(g.status, j.state), g.restaurant_id, coalesce(r.name, g.place_facts ->> 'name'), g.template_id,
         t.name, g.author, g.scope, g.fields, g.tables_total, g.tables_done, g.failure_code, g.comment,
         case when g.status in ('created', 'scheduled') then coalesce(j.attempt, 0) else g.attempts_used end,
         coalesce(j.max_attempts, q.max_attempts), g.stamper, g.report, g.created_at, g.scheduled_at, g.started_at, g.finished_at,
         coalesce(g.purging_at, g.deleted_at)
    from makeready.posm_generations g
    join makeready.posm_templates t on t.id = g.template_id
    join makeready.queues q on q.queue = 'posm'
    left join makeready.restaurants r on r.id = g.restaurant_id
    left join makeready.jobs j on j.queue = 'posm' and j.id = g.id and g.status in ('created', 'scheduled')
   where (only_this is null or g.id = only_this)
     and (of_restaurant is null or g.restaurant_id = of_restaurant)
     and (of_template is null or g.template_id = of_template)
     and (in_state is null or g.status = case in_state when 'in-progress' then 'scheduled' else in_state end)
     and (in_state is null or in_state not in ('scheduled', 'in-progress') or makeready.posm_state(g.status, j.state) = in_state)
     and (by_author is null or g.author = by_author)
     and (made_from is null or g.created_at >= made_from)
     and (made_before is null or g.created_at < made_before)
     and (of_table is null or exists (select from makeready.posm_cards c where c.generation_id = g.id and c.table_id = of_table))
     and (posm_generation_list.older_than is null or g.seq < (
           select o.seq from makeready.posm_generations o where o.id = posm_generation_list.older_than))
   order by g.seq desc
   limit max_rows;
end
$$;
comment on function makeready.posm_generation_list(uuid, uuid, text, text, timestamptz, timestamptz, uuid, integer, uuid, uuid) is
  'The history of generations, newest first, deleted ones included; of_table: those with a card of it; older_than is the last one of the page before; only_this: that one.';

create or replace function makeready.posm_card_list(generation uuid, max_rows integer default 5000, after_place integer default -1)
  returns table (table_uuid uuid, place integer, label text, row_data jsonb, byte_count bigint, hash_sha256 bytea, crc bigint, evidence jsonb,
                 made_at timestamptz)
  language plpgsql
  stable
  security definer
  set search_path = ''
as $$
begin
  perform makeready.posm_find(generation);
  return query
    select c.table_id, c.place, c.label, c.row_data, c.size_bytes, c.sha256, c.crc32, c.evidence, c.made_at
      from makeready.posm_cards c
     where c.generation_id = generation and c.place > after_place
     order by c.place limit max_rows;
end
$$;
comment on function makeready.posm_card_list(uuid, integer, integer) is
  'The cards of a generation in their order, those that are not made yet included; after_place is that of the last one of the page before. MR404.';

create or replace function makeready.posm_refuse_unready(of_row makeready.posm_generations)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_state text := makeready.posm_state(of_row.status, (select j.state from makeready.jobs j where j.queue = 'posm' and j.id = of_row.id));
begin
  perform makeready.posm_refuse_deleted(of_row);
  if of_row.status <> 'done' then
    raise exception 'generation % is not done: it is %', of_row.id, v_state
      using errcode = 'MR409', detail = json_build_object('code', 'conflict', 'reason', 'not_done', 'generation_id', of_row.id, 'status', v_state,
                                                          'done', of_row.tables_done, 'total', of_row.tables_total),
            hint = 'Only what is whole can be downloaded.';
  end if;
end
$$;
comment on function makeready.posm_refuse_unready(makeready.posm_generations) is 'Raises MR410 for a deleted generation, MR409 for one that is not done. Internal.';

create or replace function makeready.posm_manifest(generation uuid, only_tables uuid[] default null)
  returns table (table_uuid uuid, place integer, label text, row_data jsonb, bucket_name text, object_name text, byte_count bigint,
                 hash_sha256 bytea, crc bigint, evidence jsonb)
  language plpgsql
  stable
  security definer
  set search_path = ''
as $$
declare
  v_row makeready.posm_generations := makeready.posm_find(generation);
  v_odd uuid;
begin
  perform makeready.posm_refuse_unready(v_row);
  select o.id into v_odd from unnest(only_tables) o (id)
   where not exists (select from makeready.posm_cards c where c.generation_id = generation and c.table_id = o.id) limit 1;
  if found then
    raise exception 'generation % has no card of table %', generation, v_odd
      using errcode = 'MR404', detail = json_build_object('code', 'table_not_found', 'generation_id', generation, 'table', v_odd),
            hint = 'makeready.posm_card_list lists its tables.';
  end if;
  return query
    select c.table_id, c.place, c.label, c.row_data, f.bucket, f.object_key, c.size_bytes, c.sha256, c.crc32, c.evidence
      from makeready.posm_cards c
      join makeready.files f on f.id = c.stored_id
     where c.generation_id = generation and (only_tables is null or c.table_id = any (only_tables))
     order by c.place;
end
$$;
comment on function makeready.posm_manifest(uuid, uuid[]) is
  'The stored cards of a generation that is done, in their order, all or some: what downloads are made of. MR404, MR409 not done, MR410 deleted.';

create or replace function makeready.posm_check(generation uuid)
  returns jsonb
  language plpgsql
  stable
  security definer
  set search_path = ''
  set enable_nestloop = off      -- a thousand tables meet a thousand cards, whatever is estimated
as $$
declare
  v_row  makeready.posm_generations := makeready.posm_find(generation);
  v_diff jsonb;
begin
  perform makeready.posm_refuse_unready(v_row);
  with was as (
    select c.table_id as id, c.place, c.row_data -> 'table' as facts from makeready.posm_cards c where c.generation_id = generation
  ), cur as (
    select t.id, t.position as place, t.live_since,
           makeready.restaurant_table_facts(t) || jsonb_build_object('url', makeready.posm_link(t.id, t.url)) as facts
      from makeready.restaurant_tables t where t.restaurant_id = v_row.restaurant_id and t.deleted_at is null
  ), pairs as (
    select w.place, jsonb_build_object('uuid', w.id, 'number', c.facts -> 'number', 'before', w.facts, 'after', c.facts) as entry,
           w.facts -> 'number' <> c.facts -> 'number' as is_renumbered,
           (w.facts -> 'name', w.facts -> 'section') <> (c.facts -> 'name', c.facts -> 'section') as is_renamed,
           w.facts -> 'url' is distinct from c.facts -> 'url' as is_relinked
      from was w join cur c on c.id = w.id
  )
  select jsonb_build_object(
           -- One that was made for some tables only lacks those that came later, not those that were left out.
           'added', (select coalesce(jsonb_agg(c.facts order by c.place), '[]') from cur c
                      where not exists (select from was w where w.id = c.id) and (v_row.scope = 'all' or c.live_since > v_row.created_at)),
           'removed', (select coalesce(jsonb_agg(w.facts order by w.place), '[]') from was w
                        where v_row.restaurant_id is not null and not exists (select from cur c where c.id = w.id)),
           'renumbered', (select coalesce(jsonb_agg(p.entry order by p.place), '[]') from pairs p where p.is_renumbered),
           'renamed', (select coalesce(jsonb_agg(p.entry order by p.place), '[]') from pairs p where p.is_renamed),
           'relinked', (select coalesce(jsonb_agg(p.entry order by p.place), '[]') from pairs p where p.is_relinked))
    into v_diff;
  return v_diff || jsonb_build_object('status', case when exists (select from jsonb_each(v_diff) d where d.value <> '[]') then 'warn' else 'ok' end);
end
$$;
comment on function makeready.posm_check(uuid) is
  'Compares a generation with the restaurant''s tables now: {status: ok or warn, added, removed, renumbered, renamed, relinked}. Bare uuids have nothing to differ from. MR404, MR409 not done, MR410 deleted.';

create or replace function makeready.posm_links(of_tables uuid[])
  returns table (table_uuid uuid, link text)
  language sql
  stable
  security definer
  set search_path = ''
as $$
  select o.id, makeready.posm_link(o.id, t.url)
    from unnest(of_tables) with ordinality o (id, place)
    left join makeready.restaurant_tables t on t.id = o.id and t.deleted_at is null
   order by o.place
$$;
comment on function makeready.posm_links(uuid[]) is
  'What the codes of tables say now, in the given order; a uuid that no table has gets the link of the policy, null when there is none.';

create or replace function makeready.posm_rows(template uuid, restaurant uuid default null, chosen uuid[] default null, cards jsonb default null,
    since_version integer default null, asked_by text default null)
  returns table (table_uuid uuid, label text, row_data jsonb, place_facts jsonb, next_version integer, made_on date)
  language plpgsql
  stable
  security definer
  set search_path = ''
as $$
declare
  v_by    text := coalesce(asked_by, 'database:' || session_user);
  v_offer record;
  v_next  integer;
begin
  select * into v_offer from makeready.posm_offer(template, restaurant);
  v_next := coalesce((select p.last_version from makeready.posm_pairs p where p.id = makeready.posm_pair_id(template, restaurant, v_by)), 0) + 1;
  return query
    select s.table_uuid, s.label, s.row_data, v_offer.place_facts, v_next, (makeready.now() at time zone 'UTC')::date
      from makeready.posm_selection(template, restaurant, chosen, cards, since_version, v_by) s order by s.place;
end
$$;
comment on function makeready.posm_rows(uuid, uuid, uuid[], jsonb, integer, text) is
  'What the cards of a generation would read if it was asked for now: for checks before, and for previews. Refuses as posm_enqueue does, but for no tables at all.';

grant execute on function
  makeready.posm_generation_list(uuid, uuid, text, text, timestamptz, timestamptz, uuid, integer, uuid, uuid),
  makeready.posm_card_list(uuid, integer, integer), makeready.posm_manifest(uuid, uuid[]), makeready.posm_check(uuid),
  makeready.posm_links(uuid[]),
  makeready.posm_rows(uuid, uuid, uuid[], jsonb, integer, text)
to makeready_http, makeready_ops;
