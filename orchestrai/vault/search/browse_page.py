"""The page that shows a vault's snapshots; what it shows is put in as text, never as markup."""

import json
from collections.abc import Mapping
from typing import Any

from orchestrai.core.html.frame import Extras, page
from orchestrai.core.html.markup import constant, element, joined
from orchestrai.core.html.parts import paragraph

_STYLE = """
h2{outline:none}#main nav{margin:12px 0}#main table{background:var(--card);border:1px solid var(--line)}
#main code{background:var(--card);border:1px solid var(--line);padding:6px 9px;display:block;margin:6px 0}
input{font:inherit;padding:4px 8px;margin-right:8px}button{font:inherit;padding:3px 10px}
"""
_SCRIPT = """
'use strict';
const facts=JSON.parse(document.getElementById('facts').textContent),held={},waiting={},PAGE=100;
function loaded(key,value){held[key]=value;(waiting[key]||[]).forEach(f=>f(value));delete waiting[key]}
function load(key,file,then){
 if(key in held)return then(held[key]);
 if(waiting[key])return waiting[key].push(then);
 waiting[key]=[then];
 const s=document.createElement('script');s.src=file;
 s.onerror=()=>{delete waiting[key];say('could not load '+file+': copy the whole folder')};document.head.append(s)}
function el(name,text,attrs){const e=document.createElement(name);if(text!=null)e.textContent=text;
 for(const k in attrs||{})e.setAttribute(k,attrs[k]);return e}
function say(text){document.getElementById('status').textContent=text}
function num(n){return n.toLocaleString('en')}
function link(text,to){return el('a',text,{href:'#'+to})}
function quote(s){return /^[\\w@%+=:,./-]+$/.test(s)?s:"'"+s.replace(/'/g,"'\\\\''")+"'"}
function command(words){return 'orchestrai vault restore '+words.map(quote).join(' ')+(facts.option?' '+facts.option:'')}
function view(title,trail,commands,caption,columns,rows){
 const main=document.getElementById('main');main.textContent='';
 const nav=el('nav',null,{'aria-label':'where you are'});nav.append(link('all datasets',''));
 trail.forEach(([t,to])=>{nav.append(' / ');nav.append(link(t,to))});main.append(nav);
 const h=el('h2',title,{tabindex:-1});main.append(h);commands.forEach(c=>main.append(el('code',c)));
 const search=el('input',null,{type:'search','aria-label':'show only rows with this text',placeholder:'show only ...'});
 const less=el('button','newer'),more=el('button','older'),table=el('table');
 if(rows.length>PAGE)main.append(search,less,more);else if(rows.length>8)main.append(search);
 main.append(table);let at=0;
 function draw(){
  const wanted=search.value.toLowerCase(),shown=wanted?rows.filter(r=>r.text.toLowerCase().includes(wanted)):rows;
  at=Math.max(0,Math.min(at,Math.floor((shown.length-1)/PAGE)*PAGE));table.textContent='';
  table.append(el('caption',caption+': '+(shown.length?(at+1)+' to '+Math.min(at+PAGE,shown.length)+' of ':'')+num(shown.length)));
  const head=el('tr');columns.forEach(c=>head.append(el('th',c,{scope:'col'})));const thead=el('thead');thead.append(head);
  const body=el('tbody');
  shown.slice(at,at+PAGE).forEach(r=>{const tr=el('tr');r.cells.forEach((c,i)=>{
   const td=i?el('td',null,typeof c==='number'?{'class':'n'}:{}):el('th',null,{scope:'row'});
   td.append(typeof c==='number'?num(c):c);tr.append(td)});body.append(tr)});
  table.append(thead,body);less.disabled=at===0;more.disabled=at+PAGE>=shown.length}
 search.oninput=()=>{at=0;draw()};less.onclick=()=>{at-=PAGE;draw()};more.onclick=()=>{at+=PAGE;draw()};
 draw();h.focus();say('')}
function row(text,...cells){return{text,cells}}
function datasets(){view('Datasets',[],[],'datasets',['dataset','snapshots','since (UTC)','newest (UTC)','partitions','files','bytes'],
 facts.datasets.map((d,i)=>row(d[0],link(d[0],i),...d.slice(1))))}
function dataset(d,data){const name=facts.datasets[d][0];
 view(name,[],[command([name,'--into','./back'])],'snapshots, newest first',
 ['snapshot','number','taken (UTC)','partitions','files','rows','bytes','new bytes'],
 data.commits.map((c,i)=>row(c[0]+' '+c[2],link(c[0].slice(0,12),d+'/'+i),...c.slice(1))).reverse())}
function snapshot(d,s,data){const c=data.commits[s],name=facts.datasets[d][0],rows=[];
 data.partitions.forEach(([p,spans],i)=>{const x=spans.find(x=>x[0]<=s&&s<=x[1]);
  if(x)rows.push(row(p+' '+x[5],link(p,d+'/'+s+'/'+i),x[4],x[2],x[3],x[5],data.commits[x[0]][2]))});
 view('Snapshot '+c[0].slice(0,12)+' of '+c[2]+' UTC',[[name,d]],[command([c[0],'--into','./back'])],'partitions',
 ['partition','files','rows','bytes','root','unchanged since (UTC)'],rows)}
function partition(d,s,p,data,lists){const c=data.commits[s],[name,spans]=data.partitions[p],x=spans.find(x=>x[0]<=s&&s<=x[1]);
 if(!x)return snapshot(d,s,data);
 const base=[c[0],'--only',name];
 view(name,[[facts.datasets[d][0],d],['snapshot '+c[0].slice(0,12),d+'/'+s]],[command([...base,'--to','./back'])],'files',
 ['file','role','bytes','rows','sha256','restore it'],
 lists[x[6]].map(f=>row(f.join(' '),f[0],f[1],f[2],f[3],f[4],command([...base,'--file',f[0],'--to','./back']))))}
function go(){const [d,s,p]=location.hash.slice(1).split('/').map(x=>x===''?-1:Number(x));
 if(!(d>=0)||!facts.datasets[d])return datasets();
 say('loading');load(d,d+'/dataset.js',data=>{
  if(!(s>=0)||!data.commits[s])return dataset(d,data);
  if(!(p>=0)||!data.partitions[p])return snapshot(d,s,data);
  load(d+'/'+p,d+'/'+p+'.js',lists=>partition(d,s,p,data,lists))})}
window.onhashchange=go;go()
"""


def index_html(facts: Mapping[str, Any]) -> str:
    """The page over these facts; it loads the scripts beside it when they are looked at."""
    # nothing in a name may end the script that carries it
    embedded = constant(json.dumps(facts).replace("<", "\\u003c"))
    lead = joined(
        (
            paragraph("Each snapshot is its whole dataset. The commands restore what is shown, every hash checked."),
            element("p", id="status", role="status", aria_live="polite"),
            element("noscript", paragraph("This page needs scripts. Without: orchestrai vault list, show, find.")),
        )
    )
    script = joined((element("script", embedded, type="application/json", id="facts"), element("script", constant(_SCRIPT))))
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'self' file:"
    return page("Vault", lead, (), Extras(_STYLE, policy=policy, script=script))
