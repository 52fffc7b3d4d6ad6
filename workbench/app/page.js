const page=this.closest('.wb-page');
if(page&&!page.dataset.ready){
  page.dataset.ready='yes';
  if(document.querySelector('.jp-NotebookPanel'))
    setTimeout(()=>page.scrollIntoView({block:'start'}),500);
  if(!document.querySelector('.jp-NotebookPanel'))document.title='Synthetic tables side by side';
  const all=()=>[...page.querySelectorAll('.wb-views button')];
  const mark=()=>{
    page.querySelectorAll('.wb-views').forEach(v=>v.setAttribute('data-lm-suppress-shortcuts','true'));
    all().forEach(b=>b.setAttribute('aria-pressed',b.classList.contains('mod-active')));
  };
  new MutationObserver(mark).observe(page,{subtree:true,childList:true,attributes:true,
    attributeFilter:['class']});
  mark();
  page.addEventListener('keydown',e=>{
    const step={ArrowRight:1,ArrowDown:1,ArrowLeft:-1,ArrowUp:-1}[e.key];
    const here=all().indexOf(e.target);
    if(!step||here<0)return;
    e.preventDefault();
    e.stopPropagation();
    const next=all()[(here+step+all().length)%all().length];
    next.focus();
    next.click();
  });
}
