-- Throttles: how often one stranger may try something.
--
-- A rule says how many tries are let through in any span of its length, counted over a sliding window and not over
-- fixed ones, so that nobody gets twice as many around the turn of the hour. A try is counted before it is judged, and
-- under the lock of its row: of a hundred tries at once no more get through than of a hundred in a row.

create table if not exists makeready.throttle_rules (
  rule  text     not null constraint throttle_rules_pk primary key,
  tries integer  not null constraint throttle_rules_tries_is_in_range check (tries between 1 and 1000),
  span  interval not null constraint throttle_rules_span_is_in_range check (span between '1 second' and '1 day')
);
comment on table makeready.throttle_rules is 'How many tries are let through in which time. Changed by throttle_set.';
comment on column makeready.throttle_rules.rule is 'What is tried, and by whom it is counted.';
comment on column makeready.throttle_rules.tries is 'Tries let through in any span.';
comment on column makeready.throttle_rules.span is 'Length of the window.';

create table if not exists makeready.throttles (
  rule         text          not null constraint throttles_fk_throttle_rules references makeready.throttle_rules on delete cascade,
  subject_hash bytea         not null,
  hits         timestamptz[] not null,
  last_at      timestamptz   not null,
  constraint throttles_pk primary key (rule, subject_hash)
);
create index if not exists throttles_oldest on makeready.throttles (last_at);
comment on table makeready.throttles is 'Who has tried what lately.';
comment on column makeready.throttles.rule is 'What was tried.';
comment on column makeready.throttles.subject_hash is 'SHA-256 of who tried: an address, a number, a name.';
comment on column makeready.throttles.hits is 'The tries inside the window, oldest first; never more than the rule lets through.';
comment on column makeready.throttles.last_at is 'The last try that was let through.';

insert into makeready.throttle_rules (rule, tries, span) values
  ('login', 5, '10 minutes'),            -- of one staff name from one address
  ('login_client', 50, '10 minutes'),    -- of all names from one address
  ('otp_request_phone', 5, '1 hour'),
  ('otp_request_client', 20, '1 hour'),
  ('otp_verify_phone', 15, '1 hour'),
  ('otp_verify_client', 60, '1 hour'),
  ('client_events', 60, '1 minute')
on conflict do nothing;

create or replace function makeready.throttle_take(rule_name text, tried_by text)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_rule makeready.throttle_rules;
  v_hash bytea := sha256(convert_to(tried_by, 'UTF8'));
  v_hits timestamptz[];
  v_now  timestamptz := makeready.now();
  v_wait interval;
begin
  select * into strict v_rule from makeready.throttle_rules r where r.rule = rule_name;
  insert into makeready.throttles as t (rule, subject_hash, hits, last_at) values (rule_name, v_hash, '{}', v_now)
  on conflict on constraint throttles_pk do update set last_at = t.last_at returning t.hits into v_hits;
  v_now := makeready.now();                          -- the lock may have taken a while
  v_hits := array(select h from unnest(v_hits) h where h > v_now - v_rule.span and h <= v_now order by h);
  if cardinality(v_hits) >= v_rule.tries then
    v_wait := v_hits[cardinality(v_hits) - v_rule.tries + 1] + v_rule.span - v_now;
    raise exception 'too many tries: at most % in %', v_rule.tries, v_rule.span
      using errcode = 'MR429', hint = 'Wait, then try again.',
            detail = json_build_object('code', 'rate_limited', 'retry_after_s', ceil(extract(epoch from v_wait)));
  end if;
  update makeready.throttles t set hits = v_hits || v_now, last_at = v_now where t.rule = rule_name and t.subject_hash = v_hash;
end
$$;
comment on function makeready.throttle_take(text, text) is
  'Counts one try, or raises MR429 rate_limited with the seconds until the next one. The count stays only if the transaction commits.';

create or replace function makeready.throttle_clear(rule_name text, tried_by text)
  returns void language sql volatile security definer set search_path = ''
as $$
  delete from makeready.throttles t
   where t.rule = throttle_clear.rule_name and t.subject_hash = sha256(convert_to(throttle_clear.tried_by, 'UTF8'))
$$;
comment on function makeready.throttle_clear(text, text) is 'Forgets the tries of somebody who has succeeded.';

create or replace function makeready.throttle_set(rule_name text, at_most integer, in_span interval, because text default null)
  returns void
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_old makeready.throttle_rules;
begin
  select * into v_old from makeready.throttle_rules r where r.rule = rule_name for update;
  if not found then
    raise exception 'there is no throttle %', coalesce(quote_literal(rule_name), 'null')
      using errcode = 'MR404', detail = json_build_object('rule', rule_name), hint = 'select rule from makeready.throttle_rules lists them.';
  end if;
  if at_most is null or at_most not between 1 and 1000 or in_span is null or in_span not between '1 second' and '1 day' then
    raise exception 'a throttle lets 1 to 1000 tries through in 1 second to 1 day, not % in %', at_most, in_span
      using errcode = 'MR422', detail = json_build_object('tries', at_most, 'span', in_span), hint = 'For example 5 in 10 minutes.';
  end if;
  update makeready.throttle_rules r set tries = at_most, span = in_span where r.rule = rule_name;
  perform makeready.audit('throttle_set', rule_name, jsonb_build_object('tries', v_old.tries, 'span', v_old.span),
                          jsonb_build_object('tries', at_most, 'span', in_span), because);
end
$$;
comment on function makeready.throttle_set(text, integer, interval, text) is 'Changes how many tries are let through in which time, effective at the next try.';

create or replace function makeready.throttles_sweep(max_rows integer)
  returns integer
  language plpgsql
  volatile
  security definer
  set search_path = ''
as $$
declare
  v_now   timestamptz := makeready.now();
  v_count integer;
begin
  delete from makeready.throttles t
   where (t.rule, t.subject_hash) in (select x.rule, x.subject_hash from makeready.throttles x
                                       where x.last_at < v_now - interval '1 day' order by x.last_at limit max_rows for update skip locked);
  get diagnostics v_count = row_count;
  return v_count;
end
$$;
comment on function makeready.throttles_sweep(integer) is 'Forgets tries older than the longest span there can be.';
select makeready.chore_create('throttles_sweep', '10 minutes');

grant execute on function makeready.throttle_take(text, text) to makeready_http;
grant execute on function makeready.throttle_set(text, integer, interval, text) to makeready_ops;
